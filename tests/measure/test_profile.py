import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.measure.profile import (
    CategoryProfile,
    NumberProfile,
    Profile,
    make_profile,
    merge,
    profile_like,
)


def flights(num_rows: int = 1000, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "distance": rng.lognormal(6, 1, num_rows),
            "carrier": rng.choice(["AA", "B6", "DL"], num_rows),
            "month": rng.integers(1, 13, num_rows),
            "at": [datetime(2013, 1, 1, tzinfo=UTC)] * num_rows,
            "_label": rng.integers(0, 2, num_rows),
        }
    )


def number(profile: Profile, name: str) -> NumberProfile:
    column = profile.columns[name]
    assert isinstance(column, NumberProfile)
    return column


def category(profile: Profile, name: str) -> CategoryProfile:
    column = profile.columns[name]
    assert isinstance(column, CategoryProfile)
    return column


def test_bins_of_a_reference_are_about_equally_full_and_hold_all_rows() -> None:
    profile = make_profile(flights(), bins=10)
    assert list(profile.columns) == ["distance", "carrier", "month"]
    assert number(profile, "distance").counts == (0, *[100] * 10, 0)
    assert sum(category(profile, "carrier").counts) == 1000


def test_few_different_numbers_get_a_bin_each() -> None:
    found = number(make_profile(pl.DataFrame({"x": [1, 1, 2, 5]}), bins=10), "x")
    assert found.counts == (0, 2, 1, 1, 0)


def test_a_constant_column_tells_under_equal_and_over_apart() -> None:
    reference = make_profile(pl.DataFrame({"x": [7.0, 7.0]}), bins=10)
    current = profile_like(pl.DataFrame({"x": [6.0, 7.0, 8.0, 9.0]}), reference)
    assert number(current, "x").counts == (1, 1, 2)


def test_nulls_and_nans_are_counted_apart_and_infinity_in_the_outer_bins() -> None:
    reference = make_profile(pl.DataFrame({"x": [0.0, 1.0]}), bins=2)
    rows = pl.DataFrame({"x": [None, math.nan, math.inf, -math.inf, 0.5]})
    found = number(profile_like(rows, reference), "x")
    assert (found.nulls, found.counts, found.num_finite, found.mean) == (2, (1, 0, 1, 1), 1, 0.5)


def test_a_rare_or_new_category_counts_as_other() -> None:
    rows = pl.DataFrame({"c": ["a", "a", "b", "b", "z", None]})
    reference = make_profile(rows, bins=2, max_values=2)
    assert category(reference, "c").values == ("a", "b")
    assert (category(reference, "c").other, category(reference, "c").nulls) == (1, 1)
    current = category(profile_like(pl.DataFrame({"c": ["b", "new"]}), reference), "c")
    assert (current.counts, current.other) == ((0, 1), 1)


def test_a_column_that_is_missing_counts_as_null() -> None:
    reference = make_profile(flights(), bins=4)
    current = profile_like(flights(7).drop("distance", "carrier"), reference)
    assert number(current, "distance").nulls == category(current, "carrier").nulls == 7


def test_a_number_column_can_be_declared_a_category() -> None:
    found = make_profile(flights(), bins=4, kinds={"month": "category"})
    assert set(category(found, "month").values) == {str(i) for i in range(1, 13)}


def test_a_profile_survives_json() -> None:
    profile = make_profile(flights(), bins=10)
    assert Profile.model_validate_json(profile.model_dump_json()) == profile


def test_an_empty_frame_has_a_profile() -> None:
    profile = make_profile(flights(0), bins=10)
    assert profile.num_rows == 0
    assert number(profile_like(flights(5), profile), "distance").counts == (5,)


def test_many_bins_count_as_few_do() -> None:
    rows = flights(2000)
    few = number(make_profile(rows, bins=10), "distance")
    many = number(make_profile(rows, bins=200), "distance")
    assert np.allclose(np.array(many.counts[1:-1]).reshape(10, 20).sum(1), few.counts[1:-1])


def test_profiles_on_other_bins_do_not_add_up() -> None:
    a, b = make_profile(flights(), bins=4), make_profile(flights(seed=1), bins=4)
    with pytest.raises(ValueError, match="'distance': the two profiles were not counted"):
        merge(a, b)
    with pytest.raises(ValueError, match="do not add up"):
        merge(a, make_profile(flights().drop("month"), bins=4))


numbers = st.one_of(st.none(), st.floats(-1e6, 1e6), st.just(math.nan))
row_lists = st.lists(st.tuples(numbers, st.sampled_from(["a", "b", "c", None])), max_size=30)


def frame(rows: list[Any]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"x": pl.Float64, "c": pl.String}, orient="row")


@settings(max_examples=100, deadline=None)
@given(row_lists, row_lists, row_lists)
def test_merged_profiles_are_the_profile_of_all_rows(
    reference_rows: list[Any], a: list[Any], b: list[Any]
) -> None:
    reference = make_profile(frame(reference_rows), bins=4, max_values=2)
    merged = merge(profile_like(frame(a), reference), profile_like(frame(b), reference))
    whole = profile_like(frame(a + b), reference)
    assert merged.num_rows == whole.num_rows
    assert merged.columns["c"] == whole.columns["c"]
    x, y = number(merged, "x"), number(whole, "x")
    assert (x.counts, x.nulls, x.num_finite) == (y.counts, y.nulls, y.num_finite)
    assert x.mean == pytest.approx(y.mean, rel=1e-9, abs=1e-6)
    assert x.m2 == pytest.approx(y.m2, rel=1e-9, abs=1e-3)


@settings(max_examples=100, deadline=None)
@given(row_lists)
def test_counts_add_up_to_the_rows(rows: list[Any]) -> None:
    profile = make_profile(frame(rows), bins=3)
    assert profile == profile_like(frame(rows), profile)
    for column in profile.columns.values():
        assert sum(column.all_counts) == len(rows)


def test_whole_numbers_that_are_categories_are_counted_as_they_are_sent() -> None:
    reference = make_profile(
        pl.DataFrame({"ward": [1.0, 2.0, 2.0, None]}), bins=5, kinds={"ward": "category"}
    )
    assert profile_like(pl.DataFrame({"ward": ["1", "2", "2", None]}), reference) == reference
