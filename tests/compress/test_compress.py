from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest

from everloop.compress import compress
from everloop.frameworks.scoring import score_frame
from everloop.rows.graph import set_calibration
from everloop.spec.manifest import Calibration
from everloop.spec.project import Project
from everloop.store.bundles import Bundle
from everloop.train import RecalibrateJob, Splits, TrainJob, recalibrate, split, train


def project(model: str = "network", **compress: Any) -> Project:
    return Project.model_validate(
        {
            "project": {"name": "p"},
            "sources": [{"path": "x", "time": "at", "label": "y"}],
            "train": {
                "model": model,
                "boosting": {"num_trees": 10},
                "network": {"width": 64, "epochs": 3},
            },
            "compress": compress,
        }
    )


def made(folder: Path, model: str = "network") -> tuple[Bundle, Splits]:
    rng = np.random.default_rng(0)
    x, who = rng.normal(size=2000), rng.choice(["a", "b", "c"], 2000)
    frame = pl.DataFrame(
        {
            "at": [datetime(2020, 1, 1, tzinfo=UTC) + timedelta(hours=i) for i in range(2000)],
            "x": x,
            "who": who,
            "_label": (x + (who == "a") + rng.normal(size=2000) / 2) > 0,
        }
    )
    splits = split(frame, project(model))
    created_at = datetime(2021, 1, 1, tzinfo=UTC)
    draft = train(splits, project(model), TrainJob(work=folder, created_at=created_at))
    return Bundle(digest="ab" * 32, manifest=draft.manifest, files=draft.files), splits


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Splits]:
    return made(tmp_path_factory.mktemp("network"))


def timer(slow_s: float, fast_s: float) -> Iterator[float]:
    """A clock by which the model as it was trained takes slow_s and the variant fast_s."""
    now = 0.0
    for i in count():
        yield now
        now += (0.0, slow_s, 0.0, fast_s)[(i + 1) % 4]


def test_a_smaller_variant_within_the_budget_takes_the_models_place(
    network: tuple[Bundle, Splits],
) -> None:
    bundle, splits = network
    found = compress(bundle, splits, project(), timer=timer(2, 1).__next__)
    assert found.draft is not None
    evidence = found.tried[0]
    assert evidence.chosen
    assert evidence.reason.startswith("2.00 times as fast, log_loss ")
    assert evidence.speedup == pytest.approx(2)
    assert evidence.variant is not None
    assert evidence.reference is not None
    assert evidence.variant.size_bytes < 0.6 * evidence.reference.size_bytes
    assert evidence.agreement > 0.97
    manifest = found.draft.manifest
    assert (manifest.variant, manifest.parents) == ("int8", (bundle.digest,))
    assert manifest.metrics["select.log_loss"] == pytest.approx(evidence.variant.score)
    variant = Bundle(digest="cd" * 32, manifest=manifest, files=found.draft.files)
    whole, small = score_frame(bundle, splits.gate), score_frame(variant, splits.gate)
    assert np.abs(whole - small).max() < 0.05
    assert not np.array_equal(whole, small)


def test_row_steps_and_tail_of_a_variant_are_left_as_they_were(
    network: tuple[Bundle, Splits],
) -> None:
    bundle, splits = network
    draft = compress(bundle, splits, project(), timer=timer(2, 1).__next__).draft
    assert draft is not None
    before, after = (
        onnx.load_model_from_string(files["model.onnx"]) for files in (bundle.files, draft.files)
    )
    assert {n.op_type for n in after.graph.node if n.name.startswith("core/")} >= {"MatMulInteger"}
    for prefix in ("rows/", "tail/"):
        kept = [
            sorted(n.SerializeToString() for n in g.graph.node if n.name.startswith(prefix))
            for g in (before, after)
        ]
        assert kept[0] == kept[1]


def test_a_variant_can_be_recalibrated(network: tuple[Bundle, Splits]) -> None:
    bundle, splits = network
    draft = compress(bundle, splits, project(), timer=timer(2, 1).__next__).draft
    assert draft is not None
    variant = Bundle(digest="cd" * 32, manifest=draft.manifest, files=draft.files)
    job = RecalibrateJob(created_at=datetime(2021, 1, 2, tzinfo=UTC))
    again = recalibrate(variant, splits.gate, project(), job).manifest
    assert (again.variant, again.parents) == ("int8", (variant.digest,))
    assert again.metrics["recalibrate.log_loss"] <= again.metrics["recalibrate.log_loss_before"]


def test_a_variant_that_is_no_faster_is_not_worth_it(network: tuple[Bundle, Splits]) -> None:
    bundle, splits = network
    found = compress(bundle, splits, project(), timer=timer(1, 1).__next__)
    assert found.draft is None
    assert not found.tried[0].chosen
    assert found.tried[0].reason == "1.00 times as fast, under compress.min_speedup 1.10"


def test_a_variant_that_loses_too_much_is_refused(
    network: tuple[Bundle, Splits], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, splits = network
    monkeypatch.setattr("everloop.compress.int8.quantize", _forget)
    found = compress(bundle, splits, project(max_loss=0.01), timer=timer(2, 1).__next__)
    assert found.draft is None
    assert "worse, over compress.max_loss 0.0100" in found.tried[0].reason


def _forget(graph: onnx.ModelProto) -> onnx.ModelProto:
    return set_calibration(graph, Calibration(slope=0.0))


def test_trees_have_nothing_to_quantize(tmp_path: Path) -> None:
    bundle, splits = made(tmp_path, "boosting")
    found = compress(bundle, splits, project("boosting"))
    assert found.draft is None
    assert found.tried[0].reason.startswith("nothing to quantize: the core has no matrix product")


def test_no_variant_asked_for_is_no_variant_tried(network: tuple[Bundle, Splits]) -> None:
    bundle, splits = network
    assert compress(bundle, splits, project(variants=[])).tried == ()


def test_real_time_is_taken_where_no_clock_is_given(network: tuple[Bundle, Splits]) -> None:
    bundle, splits = network
    evidence = compress(bundle, splits, project()).tried[0]
    assert evidence.variant is not None
    assert all(latency > 0 for latency in evidence.variant.latency_ms.values())
