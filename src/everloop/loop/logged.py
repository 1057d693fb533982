"""What was logged as text, numbers and times, read as what a model or the source has it as.

A column that changed its kind lies in the table under several names (`everloop.store.beside`).
"""

from collections.abc import Mapping

import polars as pl

from everloop.spec.manifest import Task
from everloop.store.beside import names_of
from everloop.store.texts import number_text

_TRUE, _FALSE = ("true", "1", "1.0"), ("false", "0", "0.0")


def read_logged(name: str, have: Mapping[str, pl.DataType], dtype: pl.DataType) -> pl.Expr:
    """Read a logged column as a type; null where it was never logged, or cannot be read so.

    Args:
        name: The column, as the source has it.
        have: The table's columns.
        dtype: What to read it as.
    """
    nothing = pl.lit(None, dtype=dtype)
    found = [_read(pl.col(one), have[one], dtype) for one in names_of(name, have)]
    return pl.coalesce(*found, nothing).alias(name) if found else nothing.alias(name)


def _read(column: pl.Expr, have: pl.DataType, dtype: pl.DataType) -> pl.Expr:
    if have == pl.String:
        # A category is logged as text, also where the source has truth values or numbers.
        return read_label(column, dtype)
    if have.is_temporal() != dtype.is_temporal():
        # Times are sent as seconds since 1970; which number or text a time was is not known.
        seconds = (column * 1e6).cast(pl.Int64, strict=False).cast(dtype)
        return seconds if dtype.is_temporal() else pl.lit(None, dtype=dtype)
    if have.is_numeric() and dtype == pl.String:
        return number_text(column)
    return column.cast(dtype, strict=False)


def read_label(text: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Read a logged label's text as the type that the source's label has.

    ``true`` and ``1`` are one label; a text such as ``inf`` is no number.
    """
    if dtype == pl.String:
        return text
    plain = text.str.strip_chars().str.to_lowercase()
    if dtype == pl.Boolean:
        return (
            pl.when(plain.is_in(_TRUE))
            .then(statement=True)
            .when(plain.is_in(_FALSE))
            .then(statement=False)
        )
    if dtype.is_numeric():
        number = plain.replace({"true": "1", "false": "0"}).cast(pl.Float64, strict=False)
        return pl.when(number.is_finite()).then(number).cast(dtype, strict=False)
    return text.cast(dtype, strict=False)


def read_answer(have: Mapping[str, pl.DataType], task: Task) -> pl.Expr:
    """Read what was answered as a task's answers are; null for answers to another kind of task."""
    dtype = _answer_type(task)
    found = [name for name in names_of("_prediction", have) if have[name] == dtype]
    return (pl.col(found[0]) if found else pl.lit(None, dtype=dtype)).alias("_prediction")


def is_other_answer(have: Mapping[str, pl.DataType], task: Task) -> pl.Expr:
    """Tell whether a row holds an answer to another kind of task."""
    names = [name for name in names_of("_prediction", have) if have[name] != _answer_type(task)]
    return pl.any_horizontal(pl.lit(value=False), pl.col(names).is_not_null())


def _answer_type(task: Task) -> pl.DataType:
    return pl.List(pl.Float64) if task == "multiclass" else pl.Float64()
