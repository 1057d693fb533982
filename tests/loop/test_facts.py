from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from everloop.loop.dataset import stream_time
from everloop.loop.facts import Looking
from everloop.testing import make_rows
from tests.loop.conftest import Small

SETTINGS: dict[str, Any] = {"retrain": {"rollback_min_rows": 100}}


@pytest.fixture
def served(tmp_path: Path, upside_down: Small) -> Small:
    """A champion, a second version that says the opposite, and 200 rows served by the first."""
    small = Small(tmp_path / "small", settings=SETTINGS)
    small.run()
    small.add_version(upside_down)
    small.serve_labelled(make_rows(200, first=2000))
    return small


def now_of(small: Small) -> datetime:
    newest = stream_time(small.ws)
    assert newest is not None
    return newest


def test_live_metrics_are_those_of_the_window_by_version(served: Small) -> None:
    served.serve_labelled(make_rows(100, first=2200), version=2)
    live = Looking(served.ws, now_of(served)).live(served.ws.version_bundle(1))
    auc = {m.version: m.value for m in live if m.metric == "auc"}
    assert auc[1] is not None
    assert auc[2] is not None
    assert auc[1] > 0.9
    assert auc[2] < 0.1


def test_nothing_is_measured_before_anything_was_served(small: Small) -> None:
    small.run()
    looking = Looking(small.ws, now_of(small))
    bundle = small.ws.version_bundle(1)
    assert not looking.has_feedback
    assert looking.live(bundle) == []
    assert looking.drift(bundle) is None
    assert looking.comparison(1, 1, now_of(small)) is None


def test_rows_like_those_learned_from_have_not_drifted(served: Small) -> None:
    report = Looking(served.ws, now_of(served)).drift(served.ws.version_bundle(1))
    assert report is not None
    assert report.drift_share == 0
    assert {c.name for c in report.columns} == {"size", "weight", "colour", "probability"}


def test_answers_to_another_task_are_left_out_of_what_is_measured(
    served: Small, tmp_path: Path
) -> None:
    other = Small(tmp_path / "other", target="multiclass", settings=SETTINGS)
    other.run()
    number = served.add_version(other)
    served.serve_labelled(make_rows(100, first=2200, target="multiclass"), version=number)
    looking, champion = Looking(served.ws, now_of(served)), served.ws.version_bundle(1)
    live = looking.live(champion)
    assert {m.version for m in live} == {1}
    drift = looking.drift(champion)
    assert drift is not None
    assert drift.num_rows == 200
    theirs = looking.live(served.ws.version_bundle(number))
    assert {m.version for m in theirs} == {number}
    assert all(m.num_rows > 0 for m in theirs)


def test_two_versions_are_compared_on_the_rows_since_the_promotion(served: Small) -> None:
    found = Looking(served.ws, now_of(served)).comparison(2, 1, make_rows(2051)["at"][-1])
    assert found is not None
    assert (found.version, found.former, found.num_rows) == (2, 1, 150)
    assert found.gain.high < 0


def test_few_rows_or_one_class_compare_nothing(served: Small) -> None:
    looking = Looking(served.ws, now_of(served))
    assert looking.comparison(2, 1, make_rows(2150)["at"][-1]) is None
    rows = make_rows(400, first=2200).filter(pl.col("label"))
    served.serve_labelled(rows)
    text = (served.folder / "everloop.toml").read_text()
    text = text.replace("min_rows = 50\n\n[serve]", 'min_rows = 50\nmetric = "auc"\n\n[serve]')
    (served.folder / "everloop.toml").write_text(text)
    ws = served.reopen()
    assert ws.project.gate.metric == "auc"
    assert Looking(ws, now_of(served)).comparison(2, 1, rows["at"][0]) is None


def test_a_version_that_needs_columns_no_longer_sent_is_not_compared(
    served: Small, tmp_path: Path
) -> None:
    narrow = Small(tmp_path / "narrow", settings={"train": {"features": ["size"]}})
    narrow.run()
    number = served.add_version(narrow)
    looking = Looking(served.ws, now_of(served))
    since = make_rows(2001)["at"][-1]
    assert looking.comparison(number, 1, since) is None
    assert looking.comparison(1, number, since) is not None


def test_rows_sent_before_a_column_was_asked_for_are_no_drift(
    tmp_path: Path, upside_down: Small
) -> None:
    small = Small(tmp_path, settings={"train": {"features": ["size", "colour"]}})
    small.run()
    small.serve(make_rows(200, first=2000))
    number = small.add_version(upside_down)
    bundle = small.ws.version_bundle(number)
    assert Looking(small.ws, now_of(small)).drift(bundle) is None
    small.serve(make_rows(80, first=2200), version=number)
    report = Looking(small.ws, now_of(small)).drift(bundle)
    assert report is not None
    assert report.num_rows == 80
