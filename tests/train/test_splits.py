from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.spec.errors import DataError
from everloop.spec.project import Project
from everloop.train import split

START = datetime(2020, 1, 1, tzinfo=UTC)


def project(*, time: str | None = "at", known_after: str = "0s", **train: Any) -> Project:
    label = {"expression": "y", "known_after": known_after}
    return Project.model_validate(
        {
            "project": {"name": "p"},
            "sources": [{"path": "x", "time": time, "label": label}],
            "train": train,
        }
    )


def rows(hours: list[int]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "row": range(len(hours)),
            "at": [START + timedelta(hours=h) for h in hours],
            "_label": [float(i % 2) for i in range(len(hours))],
        }
    )


def rows_of(frame: pl.DataFrame) -> list[int]:
    return frame["row"].to_list()


def test_the_newest_rows_are_set_aside_in_order() -> None:
    found = split(rows(list(range(100))), project())
    assert rows_of(found.fit) == list(range(70))
    assert rows_of(found.tune) == list(range(70, 80))
    assert rows_of(found.select) == list(range(80, 85))
    assert rows_of(found.gate) == list(range(85, 100))
    assert found.ranges["gate"].num_rows == 15
    assert found.ranges["gate"].first == "2020-01-04T13:00:00+00:00"
    assert found.ranges["fit"].last == "2020-01-03T21:00:00+00:00"


def test_parts_may_be_lengths_of_time() -> None:
    parts = {"gate": "10h", "select": "5h", "tune": 0.2}
    found = split(rows(list(range(100))[::-1]), project(split=parts))
    assert found.gate.height == 10
    assert found.select.height == 5
    assert found.tune.height == 20
    assert found.gate["at"].min() == START + timedelta(hours=90)


@settings(max_examples=100, deadline=None)
@given(hours=st.lists(st.integers(0, 30), min_size=40, max_size=120))
def test_no_row_is_in_two_splits_and_rows_of_one_moment_stay_together(hours: list[int]) -> None:
    try:
        found = split(rows(hours), project(split={"tune": 0.2, "select": 0.2, "gate": 0.2}))
    except DataError:
        return
    frames = (found.fit, found.tune, found.select, found.gate)
    assert sorted(row for frame in frames for row in rows_of(frame)) == list(range(len(hours)))
    # Moments are shared only where a split would otherwise be empty.
    for older, newer in pairwise(frames):
        assert older["at"].max() <= newer["at"].min()  # type: ignore[operator]
        if older["at"].n_unique() > 1 and newer["at"].n_unique() > 1:
            assert older["at"].max() < newer["at"].min()  # type: ignore[operator]


def test_rows_keep_their_order_where_the_source_has_no_time() -> None:
    found = split(rows([0] * 100), project(time=None))
    assert rows_of(found.gate) == list(range(85, 100))
    assert found.ranges["gate"].first == "85"
    with pytest.raises(DataError, match=r"train\.split\.gate: found a length of time"):
        split(rows([0] * 100), project(time=None, split={"gate": "1d"}))
    with pytest.raises(DataError, match=r"train\.recent: needs sources\[0\]\.time"):
        split(rows([0] * 100), project(time=None, recent="1d"))


def test_recent_rows_are_all_used_and_older_ones_sampled_evenly() -> None:
    spec = project(recent="100h", max_rows=300, split={"tune": 0.1, "select": 0.1, "gate": 0.1})
    found = split(rows(list(range(1000))), spec)
    chosen = rows_of(found.fit)
    assert len(chosen) == len(set(chosen)) == 300
    assert chosen[-100:] == list(range(600, 700))
    assert chosen == sorted(chosen)
    assert np.diff(chosen[:200]).max() <= 6
    assert chosen == rows_of(split(rows(list(range(1000))), spec).fit)


def test_more_recent_rows_than_allowed_are_cut_to_the_newest() -> None:
    found = split(rows(list(range(100))), project(recent="90d", max_rows=10))
    assert rows_of(found.fit) == list(range(60, 70))


def test_labels_that_were_not_known_yet_are_left_out() -> None:
    frame = rows(list(range(100)))
    now = START + timedelta(hours=50)
    found = split(frame, project(known_after="10h"), now=now)
    assert found.gate["at"].max() == START + timedelta(hours=40)
    nulls = frame.with_columns(_label=pl.when(pl.col("row") < 90).then(pl.col("_label")))
    assert rows_of(split(nulls, project()).gate)[-1] == 89
    nan = nulls.with_columns(pl.col("_label").fill_null(np.nan))
    assert rows_of(split(nan, project()).gate)[-1] == 89


@pytest.mark.parametrize(
    ("frame", "spec", "message"),
    [
        (rows([]), {}, "found no row with a label"),
        (rows([0, 1]), {}, "no row falls in 'fit' of 2 labelled rows from 2020-01-01T00:00"),
        (rows(list(range(100))), {"split": {"gate": "90d"}}, "no row falls in"),
        (rows([0] * 50 + [99] * 50), {"split": {"select": "1h"}}, "no row falls in 'select'"),
        (rows([2 * i for i in range(100)]).with_columns(_label=1.0), {}, "expected two values"),
        (
            rows(list(range(100))).with_columns(_label=(pl.col("row") >= 75).cast(pl.Float64)),
            {},
            "all 70 fit rows have the label '0', expected two classes",
        ),
    ],
)
def test_what_cannot_be_split_says_what_to_do(
    frame: pl.DataFrame, spec: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        split(frame, project(**spec))
