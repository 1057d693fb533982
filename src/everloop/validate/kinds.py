"""Columns brought to the kind that the project file says."""

from collections.abc import Mapping
from typing import Literal

import polars as pl

from everloop.spec.project import Project, SourceSpec

ORIGINAL = "_original:"
"""Before a column's name: the column as it was, where its kind changed its type."""

Kind = Literal["auto", "number", "category", "time"]
_TIME = pl.Datetime("us", "UTC")


def kinds_of(source: SourceSpec, project: Project) -> dict[str, Kind]:
    """Return the kinds that the project says of a source's columns."""
    kinds: dict[str, Kind] = {name: spec.kind for name, spec in project.columns.items()}
    if source.time is not None:
        kinds[source.time] = "time"
    return kinds


def applied(schema: Mapping[str, pl.DataType], kinds: Mapping[str, Kind]) -> list[pl.Expr]:
    """Return the columns of their kinds, and those whose type this changes as they were.

    A number that is NaN counts as missing: it becomes null.
    """
    found: list[pl.Expr] = []
    for name, dtype in schema.items():
        kind = kinds.get(name, "auto")
        if _has_kind(dtype, kind):
            found.append(pl.col(name).fill_nan(None) if dtype.is_float() else pl.col(name))
        else:
            found += [_cast(name, dtype, kind), pl.col(name).alias(f"{ORIGINAL}{name}")]
    return found


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
        return column.cast(pl.String, strict=False)
    if kind == "number":
        text = column.str.strip_chars() if dtype == pl.String else column
        return text.cast(pl.Float64, strict=False).fill_nan(None)
    if dtype == pl.String:
        return column.str.strip_chars().str.to_datetime(
            time_unit="us", time_zone="UTC", strict=False
        )
    if dtype.is_numeric():
        # Seconds since 1970, as a served model takes them.
        micros = (column.cast(pl.Float64) * 1e6).cast(pl.Int64, strict=False)
        return micros.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return column.cast(_TIME, strict=False)
