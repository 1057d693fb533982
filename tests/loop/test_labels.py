"""Labels that come as a source: passed on to the labels table, each exactly once."""

from pathlib import Path

import polars as pl
import pytest

from everloop.loop.dataset import LABELS
from everloop.loop.turn import clean_all, take_in
from everloop.loop.workspace import Workspace
from everloop.spec.errors import DataError

PROJECT = """
[project]
name = "late"

[[sources]]
path = "rows.csv"
label = "y"

[[sources]]
name = "outcomes"
path = "outcomes-*.csv"

[labels]
source = "outcomes"
label = "outcome"
"""


def _project(folder: Path, text: str = PROJECT) -> Workspace:
    (folder / "everloop.toml").write_text(text)
    (folder / "rows.csv").write_text("x,y\n1,0\n2,1\n")
    (folder / "outcomes-1.csv").write_text("prediction_id,outcome\na,1\nb.0,0\n")
    return Workspace.open(folder)


def _labels(ws: Workspace) -> list[tuple[str, str]]:
    frame = ws.tables.table(LABELS).scan().select("_prediction_id", "_label").collect()
    return sorted(frame.iter_rows())


def _turn(ws: Workspace) -> None:
    take_in(ws)
    clean_all(ws)


def test_labels_of_a_source_are_passed_on_once(tmp_path: Path) -> None:
    ws = _project(tmp_path)
    _turn(ws)
    _turn(ws)
    assert _labels(ws) == [("a", "1"), ("b.0", "0")]


def test_labels_that_come_later_are_added(tmp_path: Path) -> None:
    ws = _project(tmp_path)
    _turn(ws)
    (tmp_path / "outcomes-2.csv").write_text("prediction_id,outcome\nc,1\n")
    _turn(ws)
    assert _labels(ws) == [("a", "1"), ("b.0", "0"), ("c", "1")]


def test_a_label_source_without_the_named_column_is_an_error(tmp_path: Path) -> None:
    ws = _project(tmp_path, PROJECT.replace('label = "outcome"', 'label = "result"'))
    take_in(ws)
    with pytest.raises(DataError, match="source 'outcomes' lacks 'result'"):
        clean_all(ws)


def test_served_rows_reach_the_tables_as_polars_reads_them(tmp_path: Path) -> None:
    ws = _project(tmp_path)
    _turn(ws)
    schema = ws.tables.table(LABELS).scan().collect_schema()
    assert schema["_received_at"] == pl.Datetime("us", "UTC")
