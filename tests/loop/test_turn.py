import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from everloop.loop.batch import score_file
from everloop.loop.turn import run_turn
from everloop.loop.workspace import Workspace
from everloop.registry.gc import collect
from everloop.spec.errors import DataError
from everloop.testing import add_rows, make_project, make_rows
from everloop.testing.projects import Target
from tests.loop.conftest import Small

TARGET = Path(__file__).parent / "turn_target.py"
STEPS = (
    "after everloop.ingest.stage:write_plan 1",
    "before everloop.store.table:Table._commit 2",
    "before everloop.loop.controller:Controller._carry_out 1",
    "before everloop.loop.challenger:train 1",
    "after everloop.loop.challenger:train 1",
    "before everloop.loop.ledger:Ledger._put_new 1",
    "after everloop.loop.challenger:compress 1",
    "before everloop.registry.versions:Registry.register 1",
    "after everloop.registry.versions:Registry.register 1",
    "before everloop.loop.challenger:measure_gate 1",
    "after everloop.loop.challenger:measure_gate 1",
    "before everloop.registry.versions:Registry.move 1",
    "before everloop.registry.routes:Routes.publish 1",
    "after everloop.registry.routes:Routes.publish 1",
)


def model_digests(ws: Workspace) -> list[str]:
    """The digest of each version's graph; manifests differ in when they were made."""
    found = []
    for version in ws.registry.versions():
        files = ws.bundles.open(version.bundle).manifest.files
        found += [file.sha256 for file in files if file.name == "model.onnx"]
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """A turn that nobody disturbed."""
    small = Small(tmp_path_factory.mktemp("whole"))
    small.run()
    return small


@pytest.mark.parametrize("step", STEPS)
def test_a_turn_killed_anywhere_ends_as_one_that_was_not(
    tmp_path: Path, whole: Small, step: str
) -> None:
    small = Small(tmp_path / "small")
    killed = subprocess.run([sys.executable, str(TARGET), str(small.folder), step], check=False)
    assert killed.returncode == -signal.SIGKILL, "the step was never reached"
    report = small.run()
    small.check()
    assert report.champion == 1
    assert model_digests(small.ws) == model_digests(whole.ws)
    assert small.decided() == ["retrain", "promote"]
    assert small.ws.tables.table("raw/main").num_rows() == 2000
    assert small.ws.tables.table("clean/main").num_rows() == 2000
    assert len(small.ws.registry.moves()) == len(small.ws.routes.history()) == 1
    assert sorted(run.stage for run in small.ws.ledger.runs()) == ["compress", "gate", "train"]


def test_what_is_done_is_skipped(small: Small) -> None:
    first = small.run()
    assert [line.run.stage for line in first.stages] == ["train", "compress", "gate"]
    again = run_turn(small.reopen())
    assert (again.stages, again.decisions, again.champion) == ((), (), 1)
    assert again.ingested[0].num_rows == 0
    assert len(small.ws.registry.versions()) == 1


@pytest.mark.parametrize("to", ["ingest", "validate", "train", "compress", "gate"])
def test_a_turn_goes_as_far_as_it_is_asked_to(small: Small, to: str) -> None:
    report = small.run(to)
    stages = ["ingest", "validate", "train", "compress", "gate"]
    done = stages[: stages.index(to) + 1]
    assert [line.run.stage for line in report.stages] == done[2:]
    assert (report.champion, small.decided()) == (None, [])
    assert small.run().champion == 1
    assert len(small.ws.ledger.runs()) == 3


def test_new_rows_make_a_new_challenger(small: Small) -> None:
    small.run()
    add_rows(small.folder, make_rows(400, first=2000))
    report = small.run()
    assert report.ingested[0].num_rows == 400
    assert len(small.ws.registry.versions()) == 2
    assert small.decided()[2:] in (["retrain", "promote"], ["retrain", "hold"])
    small.check()


def test_a_challenger_that_is_no_better_is_held_and_the_route_stays(small: Small) -> None:
    small.run()
    route = small.ws.routes.current()
    add_rows(small.folder, make_rows(20, first=2000))
    report = small.run()
    assert report.is_held
    assert report.champion == 1
    assert small.ws.routes.current() == route
    assert "gate.min_gain" in report.decisions[-1].reasons[0]


def test_a_failed_training_fails_the_turn_and_is_tried_again_at_the_next(tmp_path: Path) -> None:
    small = Small(tmp_path, num_rows=2000)
    path = next((tmp_path / "rows").iterdir())
    pl.read_csv(path).with_columns(label=pl.lit(value=True)).write_csv(path)
    for number in (1, 2):
        with pytest.raises(DataError, match="expected two values"):
            small.run()
        assert small.decided() == ["retrain", "failed"] * number
    add_rows(tmp_path, make_rows(2000, first=2000))
    assert small.run().champion == 1


def test_a_changed_project_file_makes_a_model_that_competes_with_the_champion(
    tmp_path: Path,
) -> None:
    small = Small(tmp_path)
    small.run()
    make = {"train": {"features": ["colour"]}}
    shutil.rmtree(tmp_path / "rows")
    make_project(tmp_path, settings=make)
    report = run_turn(small.reopen())
    assert report.is_held, "one column must not beat three"
    (gate,) = [line.run for line in report.stages if line.run.stage == "gate"]
    assert json.loads(json.dumps(gate.outputs["evidence"]))["champion"] is not None
    assert small.ws.version_bundle(2).manifest.columns[0].name == "colour"
    small.check()


def test_a_model_whose_bundle_was_freed_is_made_again(tmp_path: Path) -> None:
    small = Small(tmp_path)
    small.run()
    for number in range(5):
        add_rows(tmp_path, make_rows(5, first=2000 + 5 * number))
        small.run()
    collect(small.ws.objects, small.ws.tables, "small", keep=1, dry_run=False)
    bundle = small.ws.registry.version(3).bundle
    small.ws.bundles.delete(bundle)
    with pytest.raises(DataError, match="version 3: its bundle was freed"):
        score_file(small.ws, tmp_path / "rows" / "000000.csv", tmp_path / "out.csv", 3)
    assert small.run().champion == 1
    small.ws.bundles.delete(small.ws.registry.version(6).bundle)
    assert small.run().champion == 1
    assert len(small.ws.registry.versions()) == 7


@pytest.mark.parametrize("target", ["text", "multiclass", "regression"])
def test_other_kinds_of_labels_go_all_the_way(tmp_path: Path, target: Target) -> None:
    small = Small(tmp_path, target=target)
    assert small.run().champion == 1
    manifest = small.ws.version_bundle(1).manifest
    classes = {"text": ("no", "yes"), "multiclass": ("0", "1", "2"), "regression": ()}[target]
    assert manifest.classes == classes
    for ending in ("csv", "jsonl", "parquet"):
        out = tmp_path / f"scored.{ending}"
        assert score_file(small.ws, tmp_path / "rows" / "000000.csv", out, None) == (2000, 1)
        assert out.stat().st_size > 2000
    if target == "multiclass":
        scored = pl.read_csv(tmp_path / "scored.csv")
        shares = [f"probabilities.{name}" for name in classes]
        assert scored.select(pl.sum_horizontal(shares)).to_series().is_between(0.999, 1.001).all()


@pytest.mark.parametrize("target", ["binary", "regression"])
def test_rows_without_a_time_are_in_order_of_arrival(tmp_path: Path, target: Target) -> None:
    small = Small(tmp_path, time=None, target=target)
    assert small.run().champion == 1
    assert small.ws.version_bundle(1).manifest.splits["fit"].first == "0"
    assert small.run().decisions == ()
