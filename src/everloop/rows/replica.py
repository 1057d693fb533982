"""Row steps in a replica: what a caller sent becomes the graph's input tensors. No Polars here."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import lru_cache
from math import floor, isfinite, nan
from typing import Any, Final, NoReturn

import numpy as np
import numpy.typing as npt

from everloop.rows.columns import FIRST_SECOND, LAST_SECOND, NULL_TIME, WHITESPACE
from everloop.spec.errors import DataError
from everloop.spec.steps import ColumnSteps

Tensors = dict[str, npt.NDArray[Any]]

NUMBER_TEXT: Final = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"
TIME_TEXT: Final = (
    r"^([0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[T ]([01][0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9])(?:[.,][0-9]{1,9})?)?"
    r"(?:Z|([+-])([01][0-9]|2[0-3]):?([0-5][0-9]))?)?$"
)
"""ISO 8601 as both forms read it: a date, or date and time, to the minute or finer."""

TOO_LARGE: Final = 3.4028235677973366e38
"""From here on a float64 rounds to infinity as float32; such a number counts as null."""

_NUMBER = re.compile(NUMBER_TEXT)
_TIME = re.compile(TIME_TEXT)
_EPOCH_DAY = date(1970, 1, 1).toordinal()


def parse_inputs(
    columns: Sequence[ColumnSteps],
    data: Mapping[str, Sequence[Any] | npt.NDArray[Any]],
    num_rows: int,
) -> Tensors:
    """Turn what a caller sent into the graph's input tensors.

    Args:
        columns: Of the manifest.
        data: Column to its values, as JSON has them, or a numpy array. Numbers: numbers, numeric
            text or null. Categories: text, integers, booleans or null. Times: ISO 8601 text (UTC
            where it has no offset), seconds since 1970, or null. Other columns are left alone.
        num_rows: How many values each column must have.

    Returns:
        Column to its tensor, each of shape (num_rows,): FP32 with NaN for null, objects of text
        with the empty string for null, or INT64 seconds with -2**63 for null.

    Raises:
        DataError: Names column, row, what was found and what was expected.
    """
    return {c.name: _PARSE[c.kind](c, _values(c, data, num_rows)) for c in columns}


def _values(
    column: ColumnSteps, data: Mapping[str, Sequence[Any] | npt.NDArray[Any]], num_rows: int
) -> Sequence[Any]:
    if column.name not in data:
        raise DataError(
            f"column {column.name!r}: missing, expected {num_rows} values of kind {column.kind}"
        )
    values = data[column.name]
    if len(values) != num_rows:
        raise DataError(
            f"column {column.name!r}: found {len(values)} values, expected {num_rows}, one a row"
        )
    return values.tolist() if isinstance(values, np.ndarray) else values


def _numbers(column: ColumnSteps, values: Sequence[Any]) -> npt.NDArray[np.float32]:
    try:
        found = [v if v is not None and -TOO_LARGE < v < TOO_LARGE else nan for v in values]
    except TypeError:
        found = [parse_number(v, column.name, row) for row, v in enumerate(values)]
    return np.array(found, np.float32)


def parse_number(value: object, name: str, row: int) -> float:
    """Read one number; NaN for null and for what float32 cannot hold.

    Raises:
        DataError: If it is no number, no numeric text and not null.
    """
    if value is None:
        return nan
    if isinstance(value, (bytes, str)):
        text = _decoded(value, name, row).strip(WHITESPACE)
        if not text:
            return nan
        if _NUMBER.fullmatch(text) is None:
            _refuse(name, row, value, "a number, numeric text or null")
        value = float(text)
    if not isinstance(value, (int, float)):
        _refuse(name, row, value, "a number, numeric text or null")
    return value if -TOO_LARGE < value < TOO_LARGE else nan


def _categories(column: ColumnSteps, values: Sequence[Any]) -> npt.NDArray[np.object_]:
    found = np.empty(len(values), object)
    found[:] = [
        v if type(v) is str and v.isascii() else parse_category(v, column.name, row)
        for row, v in enumerate(values)
    ]
    if any(step.kind in _CHANGE_TEXT for step in column.steps):
        found[:] = [change_text(column, v) for v in found]
    return found


def change_text(column: ColumnSteps, text: str) -> str:
    """Apply a category's text steps to one text."""
    for step in column.steps:
        if step.kind in _CHANGE_TEXT:
            text = _CHANGE_TEXT[step.kind](text)
    return text


def parse_category(value: object, name: str, row: int) -> str:
    """Read one category as text; the empty string for null.

    Raises:
        DataError: If it is a fraction, a structure, or text that UTF-8 cannot hold.
    """
    if value is None or value != value:  # noqa: PLR0124 - NaN is null
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, (bytes, str)):
        _refuse(name, row, value, "text, a whole number, true, false or null")
    return _decoded(value, name, row)


def _decoded(value: bytes | str, name: str, row: int) -> str:
    try:
        text = value.decode() if isinstance(value, bytes) else value
        text.encode()
    except UnicodeError:
        _refuse(name, row, value, "text that is valid UTF-8")
    return text


def _times(column: ColumnSteps, values: Sequence[Any]) -> npt.NDArray[np.int64]:
    return np.array([parse_time(v, column.name, i) for i, v in enumerate(values)], np.int64)


def parse_time(value: object, name: str, row: int) -> int:
    """Read one time as whole seconds since 1970 in UTC; -2**63 for null.

    Raises:
        DataError: If it is no time of the years 1 to 9999.
    """
    if value is None or value in ("", NULL_TIME) or value != value:  # noqa: PLR0124
        return NULL_TIME
    seconds: int | None = None
    if isinstance(value, (bytes, str)):
        seconds = _seconds(_decoded(value, name, row).strip(WHITESPACE))
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value):
        seconds = floor(value)
    if seconds is None or not FIRST_SECOND <= seconds <= LAST_SECOND:
        _refuse(name, row, value, "ISO 8601 text such as '2013-01-31T08:15:00Z', or epoch seconds")
    return seconds


@lru_cache(maxsize=4096)
def _seconds(text: str) -> int | None:
    # Rows of one batch often share a time, and a repeated one costs a tenth of a parsed one.
    if not text:
        return NULL_TIME
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    day, *clock, sign, offset_h, offset_m = match.groups()
    try:
        days = date.fromisoformat(day).toordinal() - _EPOCH_DAY
    except ValueError:
        return None
    hours, minutes, seconds = (int(part or 0) for part in clock)
    offset = int(offset_h or 0) * 3600 + int(offset_m or 0) * 60
    return (
        days * 86_400 + hours * 3600 + minutes * 60 + seconds + (1 if sign == "-" else -1) * offset
    )


def _refuse(name: str, row: int, value: object, expected: str) -> NoReturn:
    raise DataError(f"column {name!r}, row {row}: found {_short(value)}, expected {expected}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."  # noqa: PLR2004


_CHANGE_TEXT: Mapping[str, Callable[[str], str]] = {
    "trim": lambda text: text.strip(WHITESPACE),
    "lower": str.lower,
}
_PARSE: Mapping[str, Callable[[ColumnSteps, Sequence[Any]], npt.NDArray[Any]]] = {
    "number": _numbers,
    "category": _categories,
    "time": _times,
}
