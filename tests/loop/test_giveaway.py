from pathlib import Path
from typing import Any

import polars as pl
import pytest

from everloop.loop.challenger import Making
from everloop.loop.dataset import cut_now
from everloop.loop.watch import Watch
from everloop.testing import add_rows, make_rows
from everloop.testing.projects import Target
from tests.loop.conftest import Small

FEATURES = {"train": {"features": ["size", "weight", "colour", "after"]}}

# Each is known only once the label is.
AFTER: dict[str, tuple[Target, pl.Expr]] = {
    "a number": ("binary", pl.when("label").then(pl.col("weight") + 20).otherwise(0.0)),
    "a number turned around": ("text", pl.when(pl.col("label") == "yes").then(-1.0).otherwise(3.0)),
    "a value or none": ("binary", pl.when("label").then(pl.col("weight"))),
    "a text": ("binary", pl.when("label").then(pl.lit("sent back")).otherwise(pl.lit("kept"))),
    "a text or none": ("binary", pl.when("label").then(pl.lit("sent back"))),
    "a class": ("multiclass", pl.lit("grade ") + pl.col("label").cast(pl.String)),
    "a code of the class": ("multiclass", (pl.col("label") * 7) % 3),
    "another unit": ("regression", pl.col("label") * 2.54 + 1),
}


def make(folder: Path, target: Target, after: pl.Expr) -> Small:
    small = Small(folder, num_rows=0, target=target, settings=FEATURES)
    next((folder / "rows").iterdir()).unlink()
    add_rows(folder, make_rows(2000, target=target).with_columns(after=after))
    small.run("validate")
    return small


def warnings_of(small: Small) -> tuple[str, ...]:
    making = Making(small.ws, cut_now(small.ws))
    making.trained()
    ((run, _),) = making.runs
    return run.warnings


@pytest.mark.parametrize("what", AFTER)
def test_a_column_that_gives_the_label_away_is_named(tmp_path: Path, what: str) -> None:
    target, after = AFTER[what]
    (warning,) = warnings_of(make(tmp_path, target, after))
    assert warning.startswith("column 'after' alone tells the label (")
    assert "name it in train.exclude" in warning


@pytest.mark.parametrize("target", ["binary", "text", "multiclass", "regression"])
def test_columns_that_say_a_good_deal_or_are_all_different_are_not_named(
    tmp_path: Path, target: Target
) -> None:
    assert warnings_of(make(tmp_path, target, pl.col("id"))) == ()
    assert warnings_of(make(tmp_path / "2", target, pl.lit(1.0))) == ()


def test_a_few_rows_say_nothing(tmp_path: Path) -> None:
    few: dict[str, Any] = {"train": {**FEATURES["train"], "split": {"tune": 0.01}}}
    small = Small(tmp_path, num_rows=0, settings=few)
    next((tmp_path / "rows").iterdir()).unlink()
    add_rows(tmp_path, make_rows(2000).with_columns(after=pl.col("label").cast(pl.Int64)))
    small.run("validate")
    assert warnings_of(small) == ()


def test_the_watch_tells_of_it_once(tmp_path: Path) -> None:
    small = make(tmp_path, "binary", AFTER["a number"][1])
    told: list[str] = []
    watch = Watch(small.ws, tell_decision=told.append)
    watch.look()
    watch.look()
    assert [line for line in told if line.startswith("warning: column 'after'")] == told[1:2]
