from datetime import timedelta
from pathlib import Path

import pytest

from everloop.spec.file import load_project
from everloop.testing import ManualClock, add_rows, make_project, make_rows
from everloop.testing.projects import Target


def test_the_same_numbers_give_the_same_rows() -> None:
    assert make_rows(20, first=5).equals(make_rows(20, first=5))
    assert not make_rows(20, seed=1)["size"].equals(make_rows(20, seed=2)["size"])
    assert make_rows(20, first=5)["id"].to_list()[:2] == ["r5", "r6"]


@pytest.mark.parametrize(
    ("target", "values"),
    [("binary", {True, False}), ("text", {"yes", "no"}), ("multiclass", {0, 1, 2})],
)
def test_labels_are_what_was_asked_for(target: Target, values: set[object]) -> None:
    assert set(make_rows(200, target=target)["label"]) == values


def test_the_world_can_be_turned_around() -> None:
    rows, turned = make_rows(2000), make_rows(2000, sign=-1.0)
    assert rows["size"].equals(turned["size"])
    is_same = rows["label"] == turned["label"]
    assert is_same.sum() < 1000


def test_a_project_file_is_one_that_can_be_read_with_settings_of_ones_own(tmp_path: Path) -> None:
    settings = {"train": {"boosting": {"num_trees": 3}}, "retrain": {"every": "7d"}}
    folder = make_project(tmp_path / "new", num_rows=10, settings=settings)
    project = load_project(folder / "everloop.toml")
    assert project.main.time == "at"
    assert project.train.boosting.num_trees == 3
    assert project.train.boosting.min_leaf_rows == 20
    assert project.retrain.every == timedelta(days=7)
    assert load_project(make_project(tmp_path / "b", time=None) / "everloop.toml").main.time is None


def test_files_of_rows_are_numbered(tmp_path: Path) -> None:
    folder = make_project(tmp_path, num_rows=10)
    assert add_rows(folder, make_rows(5, first=10)).name == "000001.csv"
    assert sorted(p.name for p in (folder / "rows").iterdir()) == ["000000.csv", "000001.csv"]


def test_waiting_on_a_manual_clock_moves_it() -> None:
    clock = ManualClock()
    assert clock.wait(1.5) is False
    assert clock.monotonic() == 1.5
    clock.stop()
    assert clock.wait(1.0) is True
