"""Columns that come with another type than a table holds them as: they lie beside it.

What a model is sent may change its kind from one version to the next, and a table's column has one
type for ever. A column of another type is kept under a name that says which: ``_text:size`` beside
``size``. Nothing is cast, so nothing is lost, and whoever reads takes all that there is.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import polars as pl

_WORDS: Final[Mapping[type[pl.DataType], str]] = {
    pl.Float64: "number",
    pl.String: "text",
    pl.Datetime: "time",
    pl.List: "list",
}


def names_of(name: str, columns: Iterable[str]) -> list[str]:
    """Return those of a table's columns that hold this one.

    >>> names_of("size", ["size", "_text:size", "weight"])
    ['size', '_text:size']
    """
    known = set(columns)
    found = (name, *(f"_{word}:{name}" for word in _WORDS.values()))
    return [one for one in found if one in known]


def set_beside(columns: Iterable[pl.Series], table: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Join columns to a frame that fits a table.

    Names that differ in case alone are one name to a table.

    Args:
        columns: Numbers (f64), texts, times or lists, those that keep their names first. Two of one
            name have two types.
        table: The table's columns; empty if it does not exist.
    """
    taken = {name.lower(): name for name in table}
    found: dict[str, pl.Series] = {}
    for column in columns:
        name = column.name
        is_own = taken.get(name.lower(), name) == name and name not in found
        if not is_own or table.get(name, column.dtype) != column.dtype:
            name = f"_{_WORDS[type(column.dtype)]}:{column.name}"
        taken.setdefault(name.lower(), name)
        found[name] = column.alias(name)
    return pl.DataFrame(list(found.values()))
