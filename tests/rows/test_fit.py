from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from everloop.rows.columns import code_sizes, number_names
from everloop.rows.fit import fit_columns
from everloop.rows.vectorised import encode
from everloop.spec.errors import DataError
from everloop.spec.project import ColumnSpec
from everloop.spec.steps import ColumnSteps, StepSpec


def fit(values: list[Any], family: str = "boosting", **spec: Any) -> ColumnSteps:
    frame = pl.DataFrame({"x": values})
    return fit_columns(frame, ["x"], {"x": ColumnSpec(**spec)}, family)[0]


def kinds(column: ColumnSteps) -> list[str]:
    return [step.kind for step in column.steps]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["a", "b"], "category"),
        ([True, False], "category"),
        ([date(2020, 1, 1)], "time"),
        ([datetime(2020, 1, 1, tzinfo=UTC)], "time"),
        ([1, 2], "number"),
        ([1.5], "number"),
        ([None, None], "number"),
    ],
)
def test_a_column_goes_by_its_data_where_the_file_says_nothing(values: Any, kind: str) -> None:
    assert fit(values).kind == kind


def test_steps_say_what_kind_a_column_is() -> None:
    assert fit([1, 2], steps=("lookup",)).kind == "category"
    assert fit([1, 2], steps=("calendar",)).kind == "time"
    assert fit(["1", "2"], steps=("parse",)).kind == "number"


def test_trees_get_numbers_as_they_are_and_networks_get_them_scaled() -> None:
    assert kinds(fit([1.0, 2.0])) == []
    assert kinds(fit([1.0, 2.0], "network")) == ["clip", "impute", "scale"]
    assert kinds(fit([date(2020, 1, 1)], "network")) == ["calendar", "impute", "scale"]


def test_a_network_gets_no_null_and_no_unscaled_number_whatever_steps_are_asked_for() -> None:
    assert kinds(fit([1.0, None], "network", steps=("log",))) == ["log", "impute", "scale"]
    assert kinds(fit([1.0, None], "network", steps=("scale",))) == ["scale", "impute"]


def test_a_category_always_ends_as_a_code_and_a_time_in_its_parts() -> None:
    assert kinds(fit(["a"], steps=("trim", "lower"))) == ["trim", "lower", "lookup"]
    assert kinds(fit([date(2020, 1, 1)], steps=())) == ["calendar"]


def test_a_column_of_nulls_is_sane_in_both_families() -> None:
    for family in ("boosting", "network"):
        column = fit([None, None, None], family)
        encoded = encode(pl.DataFrame({"x": [None, 3.0]}), [column])
        if family == "network":
            assert np.isfinite(encoded.numbers).all()
    assert code_sizes([fit([None, None], kind="category")]) == (1,)
    assert np.isfinite(
        encode(pl.DataFrame({"x": [None, 5]}), [fit([None, None], "network", kind="time")]).numbers
    ).all()


def test_a_constant_column_is_not_blown_up() -> None:
    column = fit([0.1] * 1000, "network")
    found = encode(pl.DataFrame({"x": [0.1, 0.2]}), [column]).numbers
    assert np.abs(found).max() < 1


def test_each_part_of_a_calendar_has_a_scale_of_its_own() -> None:
    times = [datetime(2020, 1, 1 + i % 28, i % 24, tzinfo=UTC) for i in range(500)]
    column = fit(times, "network")
    found = encode(pl.DataFrame({"x": times}), [column]).numbers
    assert number_names([column]) == ("x.minute_of_day", "x.day_of_week")
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(found.std(axis=0), 1, atol=1e-4)


def test_rare_categories_and_those_past_the_limit_share_code_0() -> None:
    column = fit(["a"] * 9 + ["b"] * 7 + ["c"] * 7 + ["d"] * 2 + [None] * 9)
    assert column.steps[-1].values == ("a", "b", "c")
    step = StepSpec(kind="lookup", max_values=2)
    assert fit(["a"] * 9 + ["b"] * 7 + ["c"] * 7, steps=(step,)).steps[-1].values == ("a", "b")


def test_a_category_of_all_different_values_says_nothing_but_works() -> None:
    column = fit([f"id-{i}" for i in range(1000)])
    assert code_sizes([column]) == (1,)
    assert encode(pl.DataFrame({"x": ["id-1"]}), [column]).codes.tolist() == [[0]]


@pytest.mark.parametrize(
    ("values", "spec", "message"),
    [
        (
            [1.0],
            {"kind": "number", "steps": ("lookup",)},
            r"columns\.x\.steps\[0\]: found 'lookup'",
        ),
        (["a"], {"steps": ("lookup", "trim")}, "expected trim, lower and parse first"),
        ([1.0], {"steps": ("scale", "scale")}, "none of them twice"),
        (["a", "7"], {"kind": "number"}, "column 'x', row 0: found 'a', expected numbers"),
        ([1.5], {"kind": "category"}, "expected a number column, or text"),
        ([[1]], {}, "found values of type List"),
        ([date(2020, 1, 1)], {"kind": "number"}, "expected numbers"),
    ],
)
def test_what_does_not_suit_a_column_is_said(values: Any, spec: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        fit(values, **spec)


def test_a_feature_that_is_not_there_is_named() -> None:
    with pytest.raises(DataError, match="'y' is not in the rows, which have x"):
        fit_columns(pl.DataFrame({"x": [1]}), ["y"], {}, "boosting")


def test_a_column_named_as_the_output_is_refused() -> None:
    with pytest.raises(DataError, match="give the column another name"):
        fit_columns(pl.DataFrame({"probability": [1]}), ["probability"], {}, "boosting")


def test_a_column_named_as_what_is_logged_of_a_prediction_is_refused() -> None:
    frame = pl.DataFrame({"_version": [1, 2]})
    with pytest.raises(DataError, match="column '_version': the log of predictions uses this name"):
        fit_columns(frame, ["_version"], {}, "boosting")
