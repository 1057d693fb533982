"""Columns brought to the kind that the project file says."""

from collections.abc import Iterator, Mapping
from typing import Literal

import polars as pl

from everloop.spec.project import ColumnSpec, Project, SourceSpec
from everloop.store.texts import number_text, read_time

ORIGINAL = "_original:"
"""Before a column's name: the column as it was, where its kind changed its type."""

Kind = Literal["auto", "number", "category", "time"]
_TIME = pl.Datetime("us", "UTC")


def kinds_of(source: SourceSpec, project: Project) -> dict[str, Kind]:
    """Return the kinds that the project says of a source's columns."""
    kinds: dict[str, Kind] = {name: _kind(spec) for name, spec in project.columns.items()}
    if source.time is not None:
        kinds[source.time] = "time"
    return kinds


def _kind(spec: ColumnSpec) -> Kind:
    # Bounds are of numbers, so text in such a column breaks a rule row by row, as it should.
    has_bounds = spec.min is not None or spec.max is not None
    return "number" if spec.kind == "auto" and has_bounds else spec.kind


def applied(frame: pl.DataFrame, kinds: Mapping[str, Kind]) -> pl.DataFrame:
    """Return the columns of their kinds, and those whose type this changes as they were.

    A number that is NaN counts as missing: it becomes null.
    """
    floats = [name for name, dtype in frame.schema.items() if dtype.is_float()]
    has_nan = frame.select(pl.col(floats).is_nan().any()).row(0, named=True) if floats else {}
    return frame.select(
        column
        for name, dtype in frame.schema.items()
        for column in _columns(name, dtype, kinds.get(name, "auto"), has_nan=has_nan.get(name))
    )


def _columns(
    name: str, dtype: pl.DataType, kind: Kind, *, has_nan: bool | None
) -> Iterator[pl.Expr]:
    if _has_kind(dtype, kind):
        yield pl.col(name).fill_nan(None) if has_nan else pl.col(name)
    else:
        yield _cast(name, dtype, kind)
        yield pl.col(name).alias(f"{ORIGINAL}{name}")


def _has_kind(dtype: pl.DataType, kind: Kind) -> bool:
    return {
        "auto": True,
        "number": dtype.is_numeric(),
        "category": dtype == pl.String,
        "time": dtype == _TIME,
    }[kind]


def _cast(name: str, dtype: pl.DataType, kind: Kind) -> pl.Expr:
    column = pl.col(name)
    if kind == "category":
        return number_text(column) if dtype.is_float() else column.cast(pl.String, strict=False)
    if kind == "number":
        text = column.str.strip_chars() if dtype == pl.String else column
        return text.cast(pl.Float64, strict=False).fill_nan(None)
    if dtype == pl.String:
        return read_time(column)
    if dtype.is_numeric():
        # Seconds since 1970, as a served model takes them.
        micros = (column.cast(pl.Float64) * 1e6).cast(pl.Int64, strict=False)
        return micros.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return column.cast(_TIME, strict=False)
