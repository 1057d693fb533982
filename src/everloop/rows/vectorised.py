"""Row steps on frames: for training, profiles and batch scoring.

Letters of shapes: N rows, F numbers, C codes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from everloop.rows.arithmetic import apply_step, calendar
from everloop.rows.columns import (
    FIRST_SECOND,
    LAST_SECOND,
    NULL_TIME,
    WHITESPACE,
    code_columns,
    graph_steps,
    number_groups,
)
from everloop.rows.replica import NUMBER_TEXT, TIME_TEXT, change_text
from everloop.spec.errors import DataError
from everloop.spec.steps import ColumnSteps

_FRACTION = "a number column, or text, whole numbers or booleans for a category"


@dataclass(frozen=True)
class Encoded:
    """Rows as a model's core takes them.

    Attributes:
        numbers: float32, shape (N, F).
        codes: int64, shape (N, C); 0 is unknown or null.
    """

    numbers: npt.NDArray[np.float32]
    codes: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.numbers)


def encode(frame: pl.DataFrame, columns: Sequence[ColumnSteps]) -> Encoded:
    """Run every row step.

    Raises:
        DataError: If a column is missing or a value cannot be read as its kind.
    """
    numbers = [
        encode_numbers(column, input_values(frame, column))
        for group in number_groups(columns)
        for column in group
    ]
    codes = [encode_codes(column, input_values(frame, column)) for column in code_columns(columns)]
    return Encoded(
        np.concatenate(numbers, axis=1) if numbers else np.empty((frame.height, 0), np.float32),
        np.stack(codes, axis=1) if codes else np.empty((frame.height, 0), np.int64),
    )


def tensors(frame: pl.DataFrame, columns: Sequence[ColumnSteps]) -> dict[str, npt.NDArray[Any]]:
    """Run the steps that are not in the graph; the same as `rows.replica.parse_inputs`.

    Returns:
        Column to its tensor of shape (N,), for `frameworks.onnx_runtime.Scorer`.

    Raises:
        DataError: If a column is missing or a value cannot be read as its kind.
    """
    return {column.name: _tensor(input_values(frame, column)) for column in columns}


def _tensor(values: pl.Series) -> npt.NDArray[Any]:
    if values.dtype != pl.String:
        return values.to_numpy()
    found = np.empty(len(values), object)
    found[:] = values.to_list()
    return found


def encode_numbers(column: ColumnSteps, values: pl.Series) -> npt.NDArray[np.float32]:
    """Run the graph's steps of a number or time column; shape (N, parts of the column)."""
    steps = graph_steps(column)
    if column.kind == "time":
        encoded, steps = calendar(values.to_numpy(), steps[0].parts), steps[1:]
    else:
        encoded = values.to_numpy().reshape(-1, 1)
    for step in steps:
        encoded = apply_step(step, encoded)
    return encoded


def encode_codes(column: ColumnSteps, values: pl.Series) -> npt.NDArray[np.int64]:
    """Look up a category column's codes, shape (N,)."""
    known = column.steps[-1].values
    codes = values.cast(pl.Enum(known), strict=False).to_physical().cast(pl.Int64) + 1
    return codes.fill_null(0).to_numpy()


def input_values(frame: pl.DataFrame, column: ColumnSteps) -> pl.Series:
    """Read a column as the graph's input: Float32 (NaN), String ('') or Int64 (-2**63), no nulls.

    Raises:
        DataError: If the column is missing or a value cannot be read as its kind.
    """
    if column.name not in frame.columns:
        raise DataError(
            f"column {column.name!r}: missing; the rows have {', '.join(frame.columns[:20])}"
        )
    series = frame.get_column(column.name)
    if series.dtype.is_nested() or series.dtype in (pl.Object, pl.Binary, pl.Duration):
        raise DataError(
            f"column {column.name!r}: found values of type {series.dtype}, "
            "expected numbers, text or times; leave it out of train.features"
        )
    return _READ[column.kind](series, column).alias(column.name)


def _numbers(series: pl.Series, column: ColumnSteps) -> pl.Series:
    if series.dtype.is_temporal():
        _refuse(series, series.is_not_null(), column, "numbers")
    if series.dtype in (pl.String, pl.Categorical, pl.Enum):
        text = _text(series)
        series = text.set(~text.str.contains(NUMBER_TEXT), None).cast(pl.Float64)
        _refuse(text, (text != "") & series.is_null(), column, "numbers or numeric text")
    # By way of float64, as a caller's JSON numbers go; in NumPy a null is NaN, and a single row
    # costs a tenth of what the frame's own expressions do.
    with np.errstate(over="ignore"):
        narrow = series.cast(pl.Float64).to_numpy().astype(np.float32)
    narrow[~np.isfinite(narrow)] = np.nan
    return pl.Series(narrow)


def _text(series: pl.Series) -> pl.Series:
    return series.cast(pl.String).str.strip_chars(WHITESPACE).fill_null("")


def _categories(series: pl.Series, column: ColumnSteps) -> pl.Series:
    if series.dtype.is_float() or series.dtype.is_decimal():
        wide = series.cast(pl.Float64).fill_nan(None)
        whole = wide.cast(pl.Int64, strict=False)
        _refuse(series, wide.is_not_null() & (whole.cast(pl.Float64) != wide), column, _FRACTION)
        series = whole
    if series.dtype.is_temporal():
        _refuse(series, series.is_not_null(), column, _FRACTION)
    text = series.cast(pl.String).fill_null("")
    if all(step.kind == "lookup" for step in column.steps):
        return text
    # Python changes each distinct text, so that both forms follow one version of Unicode.
    distinct = text.unique()
    changed = pl.Series([change_text(column, value) for value in distinct], dtype=pl.String)
    return text.replace_strict(distinct, changed, return_dtype=pl.String)


def _times(series: pl.Series, column: ColumnSteps) -> pl.Series:
    if series.dtype == pl.Time:
        _refuse(series, series.is_not_null(), column, "dates or times")
    seconds = _seconds(series)
    is_null = series.is_null()
    if series.dtype == pl.String:
        is_null = is_null | (_text(series) == "")
    elif series.dtype.is_integer():
        is_null = is_null | (series == NULL_TIME)
    elif series.dtype.is_float():
        is_null = is_null | series.is_nan().fill_null(value=True)
    is_good = seconds.is_between(FIRST_SECOND, LAST_SECOND).fill_null(value=False)
    _refuse(series, ~is_null & ~is_good, column, "times of the years 1 to 9999, as ISO 8601")
    return seconds.set(is_null, NULL_TIME)


def _seconds(series: pl.Series) -> pl.Series:
    if series.dtype == pl.Date:
        return series.cast(pl.Int64) * 86_400
    if isinstance(series.dtype, pl.Datetime):
        # The physical number counts from 1970 in UTC, with or without a time zone.
        per_second = {"ms": 10**3, "us": 10**6, "ns": 10**9}[series.dtype.time_unit]
        return series.to_physical() // per_second
    if series.dtype in (pl.String, pl.Categorical, pl.Enum):
        return _seconds_of_text(_text(series))
    if series.dtype.is_float():
        return series.floor().cast(pl.Int64, strict=False)
    return series.cast(pl.Int64, strict=False)


def _seconds_of_text(text: pl.Series) -> pl.Series:
    parts = text.str.extract_groups(TIME_TEXT).struct.unnest()
    day, hour, minute, second, sign, offset_h, offset_m = parts.get_columns()
    days = day.str.to_date("%Y-%m-%d", strict=False).cast(pl.Int64)

    def number(part: pl.Series) -> pl.Series:
        return part.cast(pl.Int64).fill_null(0)

    offset = number(offset_h) * 3600 + number(offset_m) * 60
    signed = offset * (sign == "-").fill_null(value=False).cast(pl.Int64) * 2 - offset
    return days * 86_400 + number(hour) * 3600 + number(minute) * 60 + number(second) + signed


def _refuse(series: pl.Series, bad: pl.Series, column: ColumnSteps, expected: str) -> None:
    if not bad.any():
        return
    row = int(bad.arg_true()[0])
    others = f" and {bad.sum() - 1} more" if bad.sum() > 1 else ""
    raise DataError(
        f"column {column.name!r}, row {row}{others}: found {series[row]!r}, expected {expected}; "
        "mend it, set columns.NAME.kind, or add a rule that sets such rows aside"
    )


_READ: Mapping[str, Callable[[pl.Series, ColumnSteps], pl.Series]] = {
    "number": _numbers,
    "category": _categories,
    "time": _times,
}
