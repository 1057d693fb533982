"""The three forms of the row steps say the same: frames, a caller's JSON values, the graph."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from everloop.frameworks.onnx_runtime import open_session
from everloop.rows.columns import code_sizes, number_names
from everloop.rows.fit import fit_columns
from everloop.rows.graph import make_model, wrap
from everloop.rows.replica import parse_inputs
from everloop.rows.vectorised import encode, tensors
from everloop.spec.errors import DataError
from everloop.spec.manifest import Calibration
from everloop.spec.project import ColumnSpec
from everloop.spec.steps import CalendarPart, ColumnSteps, FittedStep, StepSpec

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PARTS: tuple[CalendarPart, ...] = ("minute_of_day", "day_of_week", "day_of_month", "month")

float32s = st.floats(width=32, allow_nan=False, allow_infinity=False)
numbers = st.one_of(
    st.none(), st.integers(-(2**70), 2**70), st.floats(allow_infinity=False), float32s
)
number_texts = st.one_of(
    st.none(),
    st.sampled_from(["", " ", "1", "+2.", ".5", "-1e3", " 7\t", "1e400", "\u20038"]),
    st.integers(-(10**12), 10**12).map(str),
    float32s.map(repr),
)
texts = st.one_of(
    st.none(),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
    st.sampled_from(["a", "A", " a", "a ", "ΑΣ", "İ", "ß", "\x1ca", "\x85a", "日本", "a\x00b"]),
)
seconds = st.one_of(st.none(), st.integers(-62_135_596_800, 253_402_300_799))


def echo_core(columns: Sequence[ColumnSteps]) -> onnx.ModelProto:
    """A core that gives back its inputs side by side."""
    parts, nodes, inputs = [], [], []
    if number_names(columns):
        inputs.append(helper.make_tensor_value_info("numbers", TensorProto.FLOAT, ["N", None]))
        parts.append("numbers")
    if code_sizes(columns):
        inputs.append(helper.make_tensor_value_info("codes", TensorProto.INT64, ["N", None]))
        nodes.append(helper.make_node("Cast", ["codes"], ["cast"], to=TensorProto.FLOAT))
        parts.append("cast")
    nodes.append(helper.make_node("Concat", parts, ["raw"], axis=1))
    output = helper.make_tensor_value_info("raw", TensorProto.FLOAT, ["N", None])
    return make_model(helper.make_graph(nodes, "echo", inputs, [output]))


def check_forms(frame: pl.DataFrame, columns: Sequence[ColumnSteps], data: dict[str, Any]) -> None:
    vectorised = tensors(frame, columns)
    replica = parse_inputs(columns, data, frame.height)
    for column in columns:
        np.testing.assert_array_equal(vectorised[column.name], replica[column.name])
        assert vectorised[column.name].dtype == replica[column.name].dtype
    encoded = encode(frame, columns)
    expected = np.concatenate([encoded.numbers, encoded.codes.astype(np.float32)], axis=1)
    graph = wrap(echo_core(columns), columns, "regression", Calibration())
    onnx.checker.check_model(graph)
    found = open_session(graph.SerializeToString()).run(None, replica)[0]
    np.testing.assert_array_equal(found, expected)


def fit_one(
    values: Sequence[Any], dtype: Any, spec: ColumnSpec, family: str = "boosting"
) -> tuple[pl.DataFrame, tuple[ColumnSteps, ...]]:
    frame = pl.DataFrame({"x": pl.Series(values, dtype=dtype, strict=False)})
    return frame, fit_columns(frame, ["x"], {"x": spec}, family)


def number_spec(*kinds: str) -> ColumnSpec:
    return ColumnSpec(kind="number", steps=tuple(StepSpec(kind=kind) for kind in kinds))


ORDERS = [
    (),
    ("impute",),
    ("clip",),
    ("scale",),
    ("log",),
    ("clock",),
    ("clip", "impute", "scale"),
    ("log", "scale", "impute"),
    ("clock", "clip"),
]


@pytest.mark.parametrize("kinds", ORDERS)
@settings(max_examples=15, deadline=None)
@given(values=st.lists(st.one_of(st.none(), float32s), min_size=1, max_size=20))
def test_every_number_step_is_the_same_in_all_forms(
    kinds: tuple[str, ...], values: list[float | None]
) -> None:
    small = [v if v is None or abs(v) < 1e30 else 0.0 for v in values]
    frame, columns = fit_one(small, pl.Float64, number_spec(*kinds))
    check_forms(frame, columns, {"x": small})


@settings(max_examples=60, deadline=None)
@given(values=st.lists(numbers, min_size=1, max_size=20))
def test_numbers_that_float32_cannot_hold_are_null_in_all_forms(values: list[Any]) -> None:
    wide = [None if v is None else float(v) for v in values]
    frame, columns = fit_one(wide, pl.Float64, number_spec())
    check_forms(frame, columns, {"x": values})


@settings(max_examples=60, deadline=None)
@given(values=st.lists(number_texts, min_size=1, max_size=20))
def test_numeric_text_is_read_the_same_in_all_forms(values: list[str | None]) -> None:
    frame, columns = fit_one(values, pl.String, number_spec("parse"))
    check_forms(frame, columns, {"x": values})


@pytest.mark.parametrize("kinds", [(), ("trim",), ("lower",), ("trim", "lower")])
@settings(max_examples=40, deadline=None)
@given(known=st.lists(texts, min_size=1, max_size=20), values=st.lists(texts, min_size=1))
def test_categories_get_the_same_code_in_all_forms(
    kinds: tuple[str, ...], known: list[str | None], values: list[str | None]
) -> None:
    steps = [StepSpec(kind=kind) for kind in kinds]
    spec = ColumnSpec(kind="category", steps=(*steps, StepSpec(kind="lookup", min_count=1)))
    _, columns = fit_one(known, pl.String, spec)
    frame = pl.DataFrame({"x": pl.Series(values, dtype=pl.String)})
    check_forms(frame, columns, {"x": values})


@settings(max_examples=60, deadline=None)
@given(values=st.lists(seconds, min_size=1, max_size=20))
def test_times_are_taken_apart_the_same_in_all_forms(values: list[int | None]) -> None:
    steps = (
        StepSpec(kind="calendar", parts=PARTS),
        StepSpec(kind="impute"),
        StepSpec(kind="scale"),
    )
    frame, columns = fit_one(values, pl.Int64, ColumnSpec(kind="time", steps=steps))
    check_forms(frame, columns, {"x": values})


WRITTEN: list[Callable[[datetime], str]] = [
    lambda t: t.isoformat(timespec="seconds") + "Z",
    lambda t: t.isoformat(" ", "minutes"),
    lambda t: t.date().isoformat(),
    lambda t: t.isoformat(timespec="microseconds") + "+05:30",
    lambda t: f" {t.isoformat(timespec='seconds')}-0800 ",
]


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(
        st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 30)),  # noqa: DTZ001
        min_size=1,
        max_size=10,
    ),
    write=st.sampled_from(WRITTEN),
)
def test_times_as_text_are_read_the_same_in_all_forms(
    values: list[datetime], write: Callable[[datetime], str]
) -> None:
    written = [write(value) for value in values]
    frame, columns = fit_one(written, pl.String, ColumnSpec(kind="time"))
    check_forms(frame, columns, {"x": written})
    read = [datetime.fromisoformat(text.strip()) for text in written]
    aware = [time if time.tzinfo else time.replace(tzinfo=UTC) for time in read]
    whole = [int((time.replace(microsecond=0) - EPOCH).total_seconds()) for time in aware]
    assert tensors(frame, columns)["x"].tolist() == whole


def test_a_calendar_agrees_with_the_standard_library() -> None:
    times = [
        datetime(1600 + 3 * i, 1 + i % 12, 1 + i % 28, i % 24, i % 60, tzinfo=UTC)
        for i in range(200)
    ]
    times += [datetime(2000, 2, 29, tzinfo=UTC), datetime(1900, 3, 1, tzinfo=UTC)]
    columns = fit_columns(
        pl.DataFrame({"x": times}),
        ["x"],
        {"x": ColumnSpec(steps=(StepSpec(kind="calendar", parts=PARTS),))},
        "boosting",
    )
    found = encode(pl.DataFrame({"x": times}), columns).numbers
    expected = [[t.hour * 60 + t.minute, t.weekday(), t.day, t.month] for t in times]
    assert found.tolist() == expected


def test_many_columns_of_different_steps_keep_their_places() -> None:
    frame = pl.DataFrame(
        {
            "a": [1.0, 2.0, None],
            "at": ["2020-01-01", "2021-06-05T10:00Z", None],
            "b": [5, 6, 7],
            "who": ["x", "y", None],
            "c": [0.5, None, 9.0],
            "is_big": [True, None, False],
        }
    )
    specs = {
        "b": ColumnSpec(steps=(StepSpec(kind="scale"),)),
        "at": ColumnSpec(kind="time"),
        "who": ColumnSpec(steps=(StepSpec(kind="lookup", min_count=1),)),
        "is_big": ColumnSpec(steps=(StepSpec(kind="lookup", min_count=1),)),
    }
    columns = fit_columns(frame, frame.columns, specs, "boosting")
    assert number_names(columns) == ("a", "c", "b", "at.minute_of_day", "at.day_of_week")
    assert code_sizes(columns) == (3, 3)
    check_forms(frame, columns, frame.to_dict(as_series=False))


def test_categories_of_numbers_and_booleans_are_the_same_in_all_forms() -> None:
    frame = pl.DataFrame({"n": [1.0, 2.0, None, 1.0], "t": [True, False, None, True]})
    steps = (StepSpec(kind="lookup", min_count=1),)
    specs = {"n": ColumnSpec(kind="category", steps=steps), "t": ColumnSpec(steps=steps)}
    columns = fit_columns(frame, frame.columns, specs, "network")
    check_forms(frame, columns, {"n": [1, 2.0, None, "1"], "t": [True, "false", None, True]})


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("number", "abc"),
        ("number", "1_000"),
        ("number", "nan"),
        ("number", "٣"),
        ("number", [1]),
        ("category", 1.5),
        ("category", {"a": 1}),
        ("category", "\ud800"),
        ("time", "yesterday"),
        ("time", "2013-02-30"),
        ("time", "2013-01-01T24:00"),
        ("time", 1e18),
        ("time", True),
    ],
)
def test_a_value_of_another_kind_is_refused_by_its_column_and_row(kind: Any, value: Any) -> None:
    steps = {
        "number": (),
        "category": (FittedStep(kind="lookup", values=("a",)),),
        "time": (FittedStep(kind="calendar", parts=("month",)),),
    }
    columns = (ColumnSteps(name="x", kind=kind, steps=steps[kind]),)
    with pytest.raises(DataError, match=r"column 'x', row 1: found .*, expected"):
        parse_inputs(columns, {"x": [None, value]}, 2)
    if isinstance(value, (str, float)) and value != "\ud800":
        with pytest.raises(DataError, match=r"column 'x', row 1"):
            tensors(pl.DataFrame({"x": [None, value]}), columns)


def test_missing_columns_and_wrong_lengths_are_refused() -> None:
    columns = (ColumnSteps(name="x", kind="number"),)
    with pytest.raises(DataError, match="column 'x': missing"):
        parse_inputs(columns, {}, 2)
    with pytest.raises(DataError, match="found 1 values, expected 2"):
        parse_inputs(columns, {"x": [1]}, 2)
    with pytest.raises(DataError, match="column 'x': missing"):
        encode(pl.DataFrame({"y": [1]}), columns)
