"""The as-of join against a plain double loop."""

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.spec.errors import DataError, ProjectError
from everloop.spec.project import Project
from everloop.validate.join import join

START = datetime(2026, 1, 1, tzinfo=UTC)
MAIN: dict[str, Any] = {"t": pl.Datetime("us", "UTC"), "place": pl.String, "x": pl.Int64}
OTHER: dict[str, Any] = {"at": pl.Datetime("us", "UTC"), "place": pl.String, "wind": pl.Int64}


def minutes(value: int | None) -> datetime | None:
    return None if value is None else START + timedelta(minutes=value)


def project(**spec: Any) -> Project:
    return Project.model_validate(
        {
            "project": {"name": "t"},
            "sources": [
                {"name": "main", "path": "m", "time": "t", "label": "x"},
                {"name": "weather", "path": "w", "time": "at"},
            ],
            "join": {"source": "weather", "by": ["place"]} | spec,
        }
    )


def frames(main: list[Any], other: list[Any]) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    left = [(minutes(t), place, i) for i, (t, place) in enumerate(main)]
    right = [(minutes(t), place, wind) for t, place, wind in other]
    return (
        pl.LazyFrame(left, schema=MAIN, orient="row"),
        pl.LazyFrame(right, schema=OTHER, orient="row"),
    )


def brute_force(main: list[Any], other: list[Any], lag: int, age: int, length: int) -> list[Any]:
    found: list[Any] = []
    for t, place in main:
        known = [
            row for row in other
            if None not in (t, place, row[0]) and row[1] == place and t - age <= row[0] <= t - lag
        ]  # fmt: skip
        if not known:
            found.append((None, None, None))
            continue
        newest = max(row[0] for row in known)
        last = [row for row in known if row[0] == newest][-1]
        window = [
            row[2] for row in other
            if row[1] == place and row[0] is not None and newest - length < row[0] <= newest
        ]  # fmt: skip
        winds = [wind for wind in window if wind is not None]
        found.append((last[2], max(winds, default=None), len(window)))
    return found


TIMES = st.integers(0, 60) | st.none()
PLACES = st.sampled_from(["A", "B", None])


@settings(max_examples=150, deadline=None)
@given(
    main=st.lists(st.tuples(TIMES, PLACES), max_size=12),
    other=st.lists(st.tuples(TIMES, PLACES, st.integers(0, 99) | st.none()), max_size=20),
    lag=st.integers(0, 10),
    more_age=st.integers(0, 30),
    length=st.integers(1, 30),
)
def test_each_row_gets_what_a_double_loop_finds(
    main: list[Any], other: list[Any], lag: int, more_age: int, length: int
) -> None:
    windows = {"most": "MAX(wind)", "rows": "COUNT(*)"}
    spec = project(
        lag=f"{lag}m",
        max_age=f"{lag + more_age}m",
        window={"length": f"{length}m", "columns": windows},
    )
    left, right = frames(main, other)
    joined = join(left, spec, {"weather": right}).collect()
    assert joined["x"].to_list() == list(range(len(main)))
    expected = brute_force(main, other, lag, lag + more_age, length)
    assert joined.select("wind", "most", "rows").rows() == expected


def test_nothing_of_the_future_leaks_in() -> None:
    left, right = frames([(10, "A")], [(9, "A", 1), (11, "A", 99)])
    joined = join(left, project(lag="1m"), {"weather": right}).collect()
    assert joined["wind"].to_list() == [1]


def test_a_join_without_keys_goes_by_time_alone() -> None:
    left, right = frames([(10, "A")], [(9, "B", 1)])
    joined = join(left, project(by=[], columns=["wind"]), {"weather": right}).collect()
    assert joined["wind"].to_list() == [1]


def window(aggregate: str) -> dict[str, Any]:
    return {"length": "1h", "columns": {"w": aggregate}}


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ({"columns": ["rain"]}, DataError, r"join\[0\]: names 'rain', which source 'weath"),
        ({"by": ["x"]}, DataError, r"join\[0\]: names 'x', which source 'weather' lacks"),
        ({"by": [], "columns": ["place"]}, DataError, "has 'place' already"),
        ({"lag": "2h", "max_age": "1h"}, ProjectError, r"join\[0\]\.max_age: shorter than the lag"),
        ({"window": window("wind")}, ProjectError, "expected an aggregate"),
        ({"window": window("MAX(")}, ProjectError, r"window\.columns\.w"),
    ],
)  # fmt: skip
def test_a_join_that_cannot_be_made_is_named(
    spec: dict[str, Any], error: type[Exception], message: str
) -> None:
    left, right = frames([(10, "A")], [(9, "A", 1)])
    with pytest.raises(error, match=message):
        join(left, project(**spec), {"weather": right})


def test_keys_of_two_types_are_named() -> None:
    left, right = frames([], [])
    with pytest.raises(
        DataError, match=r"join\[0\]\.by: 'place' is String.*and Int64 in 'weather'"
    ):
        join(left, project(), {"weather": right.cast({"place": pl.Int64})})
