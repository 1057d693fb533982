"""Spool lines as the rows of the tables ``predictions`` and ``labels``; for the shipper alone."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl

from everloop.rows.replica import parse_category, parse_number
from everloop.serve.spool import LabelLine, PredictionLine
from everloop.serve.times import to_microseconds
from everloop.spec.errors import DataError
from everloop.store.beside import set_beside

_TIME = pl.Datetime("us", "UTC")
_NONE = type(None)


def prediction_frame(
    lines: Sequence[PredictionLine], replica: str, table: Mapping[str, pl.DataType]
) -> pl.DataFrame:
    """Lay out prediction lines row by row, each column with its one type.

    A row's ``_time`` is its time column's; the time of the answer where the model has none.

    Args:
        lines: Of one layout.
        replica: Who wrote them.
        table: The table's columns; what comes with another type than they have lies beside them.
    """
    ends = [(line, line.rows) for line in lines]
    columns: list[pl.Series] = [
        pl.Series("_prediction_id", [i for line in lines for i in row_ids(line)], pl.String),
        _moments("_received_at", [line.at for line, n in ends for _ in range(n)]),
        _moments("_time", [t for line in lines for t in _times(line)]),
        pl.Series("_version", [line.version for line, n in ends for _ in range(n)], pl.Int64),
        pl.Series("_replica", [replica] * sum(n for _, n in ends), pl.String),
    ]
    columns += _spread(lines, "moments", list, _moments)
    columns += _spread(lines, "texts", list, _texts)
    columns += _spread(lines, "numbers", _numbers, _floats)
    columns += _spread(lines, "categories", _categories, _texts)
    columns += _spread(lines, "times", _microseconds, _moments)
    if lines:
        columns.append(_predictions([value for line in lines for value in line.predictions]))
    return set_beside(columns, table)


def layout_of(line: PredictionLine) -> tuple[object, ...]:
    """Say which columns a line has and of what type; lines of one frame agree on it."""
    is_list = isinstance(line.predictions[0], list) if line.predictions else False
    return (is_list, tuple(line.numbers), tuple(line.categories), tuple(line.times))


def label_frame(lines: Sequence[LabelLine]) -> pl.DataFrame:
    """Lay out label lines, one row for each label."""
    pairs = [pair for line in lines for pair in line.labels]
    at = [line.at for line in lines for _ in line.labels]
    return pl.DataFrame(
        [
            pl.Series("_prediction_id", [pair[0] for pair in pairs], pl.String),
            pl.Series("_label", [pair[1] for pair in pairs], pl.String),
            _moments("_received_at", at),
        ]
    )


def row_ids(line: PredictionLine) -> list[str]:
    """Name each row: the request's id, with the row's number behind it if there are several."""
    return [line.id] if line.rows == 1 else [f"{line.id}.{i}" for i in range(line.rows)]


def _times(line: PredictionLine) -> list[int | None]:
    if line.clock is None:
        return [line.at] * line.rows
    if line.clock in line.moments:
        return line.moments[line.clock]
    if line.clock in line.times:
        return _microseconds(line.times[line.clock])
    return [None] * line.rows


def _spread(
    lines: Sequence[PredictionLine],
    group: str,
    read: Callable[[list[Any]], list[Any]],
    make: Callable[[str, list[Any]], pl.Series],
) -> list[pl.Series]:
    names = dict.fromkeys(name for line in lines for name in getattr(line, group))
    return [make(name, _column(lines, group, name, read)) for name in names]


def _column(
    lines: Sequence[PredictionLine], group: str, name: str, read: Callable[[list[Any]], list[Any]]
) -> list[Any]:
    values: list[Any] = []
    for line in lines:
        found = getattr(line, group).get(name)
        values += [None] * line.rows if found is None else read(found)
    return values


def _numbers(values: list[Any]) -> list[float | None]:
    if {float, _NONE}.issuperset(map(type, values)):
        return values
    return [_number(value) for value in values]


def _number(value: object) -> float | None:
    found = parse_number(value, "", 0)
    return None if math.isnan(found) else float(found)


def _categories(values: list[Any]) -> list[str | None]:
    if {str, _NONE}.issuperset(map(type, values)):
        return values
    return [None if value is None else parse_category(value, "", 0) for value in values]


def _microseconds(values: list[Any]) -> list[int | None]:
    return [_microsecond(value) for value in values]


def _microsecond(value: Any) -> int | None:  # noqa: ANN401 - as JSON has it
    try:
        return to_microseconds(value)
    except (ValueError, DataError):
        return None


def _floats(name: str, values: list[Any]) -> pl.Series:
    return pl.Series(name, values, pl.Float64)


def _texts(name: str, values: list[Any]) -> pl.Series:
    return pl.Series(name, values, pl.String)


def _moments(name: str, values: list[Any]) -> pl.Series:
    return pl.Series(name, values, pl.Int64).cast(_TIME)


def _predictions(values: list[Any]) -> pl.Series:
    is_list = any(isinstance(value, list) for value in values)
    return pl.Series("_prediction", values, pl.List(pl.Float64) if is_list else pl.Float64)
