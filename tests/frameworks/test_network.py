import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from everloop.frameworks.checkpoint import FILE, read_checkpoint
from everloop.frameworks.onnx_runtime import open_session
from everloop.spec.errors import DataError
from everloop.spec.manifest import Task
from tests.frameworks.network_job import fit, rows

JOB = Path(__file__).with_name("network_job.py")


def test_a_killed_training_ends_with_the_weights_of_an_unbroken_one(tmp_path: Path) -> None:
    command = [sys.executable, str(JOB), str(tmp_path / "killed"), "3"]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    epochs: list[int] = []
    resumed = fit(
        tmp_path / "killed", progress=lambda _what, done, _total=None: epochs.append(done)
    )
    assert epochs[0] == 4
    whole = fit(tmp_path / "whole")._model.state_dict()
    for name, value in resumed._model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), whole[name].numpy(), err_msg=name)


def test_a_resumed_training_does_no_epoch_twice(tmp_path: Path) -> None:
    seen: list[int] = []

    def progress(_what: str, done: int, _total: int | None = None) -> None:
        seen.append(done)
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, progress=progress)
    fit(tmp_path, progress=progress, patience=3)
    assert seen == [1, 2, 3, 4, 5, 6]


def test_a_checkpoint_of_other_settings_or_half_a_file_is_set_aside(tmp_path: Path) -> None:
    fit(tmp_path)
    seen: list[int] = []
    fit(tmp_path, dropout=0.2, progress=lambda _what, done, _total=None: seen.append(done))
    assert seen[0] == 1
    whole = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(whole[: len(whole) // 2])
    assert read_checkpoint(tmp_path) is None
    fit(tmp_path, dropout=0.2)


def test_the_same_seed_gives_the_same_network(tmp_path: Path) -> None:
    fresh = rows(50, 3)
    first, second = fit(tmp_path / "1").raw(fresh), fit(tmp_path / "2").raw(fresh)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize(("num_numbers", "num_codes"), [(3, 2), (3, 0), (0, 2), (1, 1)])
def test_the_graph_says_what_the_network_says(
    task: Task, num_numbers: int, num_codes: int, tmp_path: Path
) -> None:
    fitted = fit(tmp_path, task, num_numbers=num_numbers, num_codes=num_codes, epochs=2)
    core = fitted.core()
    onnx.checker.check_model(core)
    fresh = rows(200, 4, num_numbers=num_numbers, num_codes=num_codes)
    feeds = {"numbers": fresh.numbers, "codes": fresh.codes}
    names = {i.name for i in core.graph.input}
    found = open_session(core.SerializeToString()).run(None, {n: feeds[n] for n in names})[0]
    raw = fitted.raw(fresh)
    assert found.shape == raw.shape == ((200, 3) if task == "multiclass" else (200,))
    np.testing.assert_allclose(found, raw, rtol=1e-5, atol=1e-5)


def test_a_network_learns(tmp_path: Path) -> None:
    fitted = fit(tmp_path, "regression", epochs=30, learning_rate=0.01)
    fresh = rows(500, 5)
    expected = (fresh.numbers[:, 0] + np.sin(fresh.codes[:, 0])) * 50 + 1000
    assert np.abs(fitted.raw(fresh) - expected).mean() < 15


def test_a_network_without_a_column_or_with_a_lost_loss_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column is left"):
        fit(tmp_path, num_numbers=0, num_codes=0)
    with pytest.raises(DataError, match=r"lower\s+train\.network\.learning_rate"):
        fit(tmp_path, "regression", learning_rate=1.0, num_blocks=32, epochs=40, patience=40)
