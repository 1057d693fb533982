import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from everloop.loop.controller import Controller
from everloop.loop.dataset import METRICS
from everloop.loop.trail import decision_lines
from everloop.loop.watch import Status, Watch, read_status
from everloop.loop.workspace import Workspace
from everloop.spec.errors import UnavailableError
from everloop.store.log import Entry, Log
from everloop.testing import ManualClock, add_rows, make_rows
from everloop.testing.projects import write_settings
from tests.loop.conftest import Small

LEARNING: dict[str, Any] = {
    "train": {
        "rows": "feedback",
        "max_rows": 600,
        "recent": "3d",
        "split": {"tune": 0.05, "select": 0.03, "gate": 0.05},
    },
    "retrain": {"after_rows": 300, "cooldown": "1h", "rollback_min_rows": 200},
}


@pytest.fixture
def served(tmp_path: Path) -> Small:
    small = Small(tmp_path / "small", settings=LEARNING)
    small.run()
    return small


def look(small: Small) -> Watch:
    watch = Watch(small.reopen())
    watch.look()
    small.check()
    return watch


def status_of(small: Small) -> Status:
    status = read_status(small.ws)
    assert status is not None
    return status


def test_a_fresh_project_gets_its_first_model_by_itself(tmp_path: Path) -> None:
    for rows in ("source", "feedback"):
        small = Small(tmp_path / rows, settings={"train": {"rows": rows}})
        look(small)
        assert small.decided() == ["retrain", "promote"]
        look(small)
        assert small.decided() == ["retrain", "promote"]


def test_labels_that_come_late_lead_to_a_new_champion(served: Small) -> None:
    look(served)
    rows = make_rows(600, first=2000, sign=-1.0)
    ids = served.serve(rows)
    look(served)
    assert served.decided() == ["retrain", "promote"], "nothing is known of these rows yet"
    served.label(ids, rows["label"].to_list())
    look(served)
    assert served.decided()[2:] == ["retrain", "promote"]
    assert "600 new labelled rows, retrain.after_rows 300" in decision_lines(served.ws)[2].reasons
    assert served.ws.registry.aliases() == {"champion": 2, "former": 1}


def test_a_champion_worse_than_the_former_one_on_the_same_rows_is_undone(
    served: Small, upside_down: Small
) -> None:
    served.add_version(upside_down)
    Controller(served.ws).promote_by_hand(2, "a mistake")
    served.serve_labelled(make_rows(250, first=2000))
    look(served)
    assert served.decided()[3:] == ["roll_back"]
    (reason,) = decision_lines(served.ws)[3].reasons
    assert "version 2 is worse than version 1 on the same" in reason
    assert "retrain.rollback_confidence" in reason
    assert served.ws.registry.aliases() == {"champion": 1}
    look(served)
    assert served.decided()[3:] == ["roll_back"]


def test_a_roll_back_can_be_turned_off(tmp_path: Path, upside_down: Small) -> None:
    retrain = {**LEARNING["retrain"], "rollback": False}
    small = Small(tmp_path, settings={**LEARNING, "retrain": retrain})
    small.run()
    small.add_version(upside_down)
    Controller(small.ws).promote_by_hand(2, "on purpose")
    small.serve_labelled(make_rows(250, first=2000))
    look(small)
    assert small.decided()[3:] == []


def test_what_was_measured_is_kept_once(served: Small) -> None:
    served.serve_labelled(make_rows(200, first=2000))
    look(served)
    look(served)
    found = served.ws.tables.table(METRICS).scan().collect()
    assert found.height == found.select("time", "version", "kind", "name").n_unique()
    live = found.filter(pl.col("kind") == "live")
    assert set(live["name"]) == {"auc", "log_loss", "brier", "accuracy"}
    assert live["num_rows"].unique().to_list() == [200]
    drift = found.filter(pl.col("kind") == "drift")
    assert {"size", "weight", "colour", "probability"} == set(drift["name"])


def test_drift_starts_a_retrain(tmp_path: Path) -> None:
    small = Small(tmp_path, settings={"retrain": {"on_drift": 0.2, "cooldown": "1h"}})
    small.run()
    rows = make_rows(200, first=2000)
    small.serve(rows.with_columns(pl.col("weight") + 20))
    add_rows(tmp_path, rows)
    look(small)
    assert "retrain.on_drift 20%" in decision_lines(small.ws)[2].reasons[0]


@pytest.mark.parametrize("rows", ["source", "feedback"])
def test_a_project_without_times_is_watched_too(
    tmp_path: Path, upside_down: Small, rows: str
) -> None:
    retrain = {**LEARNING["retrain"], "cooldown": "0s"}
    settings = {"train": {"rows": rows}, "retrain": retrain}
    small = Small(tmp_path, time=None, settings=settings)
    look(small)
    assert small.ws.registry.aliases() == {"champion": 1}
    if rows == "source":
        add_rows(tmp_path, make_rows(400, first=2000))
    small.serve_labelled(make_rows(400, first=2400))
    look(small)
    assert small.ws.tables.table(METRICS).num_rows() > 0
    number = small.add_version(upside_down)
    Controller(small.reopen()).promote_by_hand(number, "a mistake")
    assert small.ws.registry.aliases()["champion"] == number
    before = len(small.decided())
    add_rows(tmp_path, make_rows(400, first=2800))
    look(small)
    assert "retrain" in small.decided()[before:]


def test_features_may_change_while_rows_of_the_old_ones_are_logged(tmp_path: Path) -> None:
    features = {"train": {**LEARNING["train"], "features": ["size", "colour"]}}
    small = Small(tmp_path, settings={**LEARNING, **features})
    small.run()
    small.serve_labelled(make_rows(400, first=2000))
    write_features(small, ["size", "weight", "colour"])
    look(small)
    assert status_of(small).trouble == ""
    Controller(small.reopen()).retrain_by_hand("more columns")
    assert small.ws.registry.aliases() == {"champion": 2, "former": 1}
    small.serve_labelled(make_rows(300, first=2400))
    look(small)
    write_features(small, ["size"])
    small.serve_labelled(make_rows(300, first=2700))
    look(small)
    assert status_of(small).trouble == ""


def write_features(small: Small, features: list[str]) -> None:
    source = {"name": "main", "path": "rows/*.csv", "key": ["id"], "label": "label", "time": "at"}
    boosting = {"num_trees": 20, "min_leaf_rows": 20}
    write_settings(
        small.folder,
        {
            "project": {"name": "small"},
            "sources": [source],
            "train": {**LEARNING["train"], "features": features, "boosting": boosting},
            "gate": {"min_rows": 20, "rule": "not_worse", "min_gain": -0.1},
            "monitor": {"min_rows": 50},
            "retrain": {"rollback_min_rows": 100},
        },
    )


def test_trouble_is_noted_and_does_not_end_the_watch(served: Small) -> None:
    bad = served.folder / "rows" / "000001.csv"
    bad.write_text("id,at,size\nx,2024-03-01T00:00:00Z,1\n")
    told: list[str] = []
    watch = Watch(served.reopen(), told.append)
    (served.folder / "rows" / "000000.csv").write_text("something else\n")
    watch.look()
    watch.look()
    assert len(told) == 1
    status = status_of(served)
    assert "000000.csv" in status.trouble
    assert status.champion == 1


def test_a_training_that_failed_is_tried_again_after_a_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, clock = Small(tmp_path), ManualClock()

    def fail(*_: Any) -> None:
        raise MemoryError

    watch = Watch(Workspace.open(small.folder, clock=clock))
    with monkeypatch.context() as patch:
        patch.setattr("everloop.loop.challenger.train", fail)
        watch.look()
        watch.look()
    assert small.decided() == ["retrain", "failed"]
    clock.move(timedelta(seconds=31))
    watch.look()
    assert small.decided() == ["retrain", "failed", "retrain", "promote"]
    small.check()


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_store_that_was_away_for_a_moment_leaves_no_job_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    small = Small(tmp_path)
    real, calls = Log.append, itertools.count(1)

    def away_once(*args: Any, **options: Any) -> Entry:
        if next(calls) == number:
            raise UnavailableError("the store is away")
        return real(*args, **options)

    monkeypatch.setattr(Log, "append", away_once)
    told: list[str] = []
    watch = Watch(small.ws, told.append)
    watch.look()
    watch.look()
    assert told == ["trouble, will try again: the store is away"]
    assert small.decided() == ["retrain", "promote"]
    assert status_of(small).trouble == ""
    small.check()


def test_the_watch_follows_a_promotion_by_hand(served: Small, upside_down: Small) -> None:
    watch = look(served)
    served.add_version(upside_down)
    Controller(Workspace.open(served.folder)).promote_by_hand(2, "by hand")
    watch.look()
    assert status_of(served).champion == 2


def test_a_stop_ends_the_watch_between_two_looks(served: Small) -> None:
    clock = ManualClock()
    clock.stop()
    Watch(Workspace.open(served.folder, clock=clock)).follow()
    assert status_of(served).at == clock.now() - timedelta(milliseconds=50)


def test_each_decision_is_told_with_its_reasons(tmp_path: Path) -> None:
    small = Small(tmp_path)
    told: list[str] = []
    watch = Watch(small.ws, tell_decision=told.append)
    watch.look()
    watch.look()
    assert [line.split(":")[0] for line in told] == ["retrain", "promote version 1"]
    assert "gain over a constant predictor" in told[1]
    assert told[1].endswith("made because there is no champion yet, and 2000 labelled rows")


def test_a_failed_training_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("everloop.loop.challenger.train", fail)
    told: list[str] = []
    Watch(Small(tmp_path).ws, tell_decision=told.append).look()
    assert told[1:] == ["failed: MemoryError: "]


def test_labels_are_looked_at_though_traffic_has_stopped(served: Small) -> None:
    clock = ManualClock(datetime.now(UTC))
    ids = served.serve(rows := make_rows(600, first=2000, sign=-1.0))
    watch = Watch(Workspace.open(served.folder, clock=clock))
    watch.look()
    served.label(ids, rows["label"].to_list())
    watch.look()
    assert served.decided() == ["retrain", "promote"], "monitor.every has not passed"
    clock.move(timedelta(hours=1))
    watch.look()
    assert served.decided()[2:] == ["retrain", "promote"]
    kept = served.ws.tables.table(METRICS)
    num_rows = kept.num_rows()
    live = kept.scan().filter(pl.col("kind") == "live").collect()
    assert live["time"].n_unique() == 1, "there was nothing to measure before the labels came"
    clock.move(timedelta(hours=1))
    watch.look()
    assert kept.num_rows() == num_rows, "nothing new came"


def test_a_version_that_waits_for_a_person_is_told_with_the_command(tmp_path: Path) -> None:
    told: list[str] = []
    small = Small(tmp_path, settings={"gate": {"min_rows": 50, "promote": "manual"}})
    Watch(small.ws, tell_decision=told.append).look()
    assert told[1].startswith("ask person version 1: ")
    assert told[1].endswith("gate.promote is 'manual'; `everloop promote 1` says yes")
