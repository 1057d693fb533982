"""The six types a raw column can have, and the ways into them.

A source's columns are told once and written into every plan, so that each later file is read as
the first one was. A cell that does not fit makes its row malformed; no cell is guessed at.
"""

from collections.abc import Iterable, Mapping

import polars as pl

from everloop.spec.errors import DataError
from everloop.store.texts import is_year_first, read_time

MALFORMED = "_malformed"
RESERVED = frozenset({"_source", "_offset", "_row", "_rule", "_value", "_label", MALFORMED})
NULL_WORDS = ("", "NA", "NaN", "null", "None")
_TIME = pl.Datetime("us", "UTC")
_TYPES: dict[str, pl.DataType] = {
    "int": pl.Int64(),
    "float": pl.Float64(),
    "bool": pl.Boolean(),
    "text": pl.String(),
    "time": _TIME,
    "bytes": pl.Binary(),
}
_INT, _FLOAT = r"^[+-]?\d{1,18}$", r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_NO_NUMBER = r"^[+-]?(0\d|\d{19,}$)"
_TOLD = ("int", "float", "bool", "time")
_MIN_SHARE = 0.99
_ISO = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?(Z|[+-]\d{2}:?\d{2})?$"

Columns = dict[str, str]
"""Column name to one of the words ``int``, ``float``, ``bool``, ``text``, ``time``, ``bytes``."""


def polars_type(word: str) -> pl.DataType:
    """Return the Polars type that a word stands for."""
    return _TYPES[word]


def check_names(names: Iterable[str], where: str) -> None:
    """Refuse names that are used twice, in any case, or that everloop adds itself.

    Raises:
        DataError: If there is such a name.
    """
    seen: dict[str, str] = {}
    for name in names:
        before = len(seen)
        if name in RESERVED:
            raise DataError(
                f"{where}: found a column {name!r}, a name that everloop adds itself; rename it"
            )
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise DataError(
                f"{where}: found columns {other!r} and {name!r}, expected names that differ in "
                "more than case; rename one of them"
            )
        if len(seen) == before:
            raise DataError(
                f"{where}: found column {name!r} twice, expected each name once; rename one of them"
            )


def widened(known: Mapping[str, str], found: Mapping[str, str], where: str) -> Columns:
    """Add the columns that a newer file brings; those already known keep their type.

    Raises:
        DataError: If a new one differs from another in case alone.
    """
    new = {name: word for name, word in found.items() if name not in known}
    if new:
        check_names([*known, *new], where)
    return {**known, **new}


def word_of(dtype: pl.DataType) -> str:
    """Return the word for the type that a typed file's column is stored as.

    >>> word_of(pl.Int16()), word_of(pl.Date()), word_of(pl.List(pl.Int8))
    ('int', 'time', 'text')
    """
    if dtype.is_integer() or dtype == pl.Duration:
        return "int"
    if dtype.is_numeric():
        return "float"
    if dtype.base_type() in {pl.Datetime, pl.Date}:
        return "time"
    return {pl.Boolean: "bool", pl.Binary: "bytes"}.get(dtype.base_type(), "text")


def stored(name: str, dtype: pl.DataType, word: str) -> pl.Expr:
    """Bring a column of a typed file to its stored type; what does not fit becomes null."""
    column = pl.col(name)
    if dtype == _TYPES[word]:
        return column
    if word == "text":
        return _as_text(name, dtype)
    if dtype.base_type() in {pl.String, pl.Categorical, pl.Enum}:
        return from_text(column.cast(pl.String), word)
    if word == "time":
        return _as_time(column, dtype)
    if dtype == pl.Duration:
        column = column.dt.total_microseconds()
    if dtype.is_float() and word == "int":
        column = pl.when(column == column.round()).then(column)
    return column.cast(_TYPES[word], strict=False)


def _as_text(name: str, dtype: pl.DataType) -> pl.Expr:
    if dtype == pl.Struct:
        return pl.col(name).struct.json_encode()
    if dtype.is_nested():
        return pl.struct(pl.col(name)).struct.json_encode().name.keep()
    return pl.col(name).cast(pl.String, strict=False)


def _as_time(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if dtype == pl.Date:
        return column.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if not isinstance(dtype, pl.Datetime):
        return (
            pl.when(pl.lit(value=False))
            .then(pl.lit(None, dtype=_TIME))
            .alias(column.meta.output_name())
        )
    column = column.dt.cast_time_unit("us")
    return (
        column.dt.convert_time_zone("UTC")
        if dtype.time_zone
        else column.dt.replace_time_zone("UTC")
    )


def from_text(column: pl.Expr, word: str) -> pl.Expr:
    """Read text as a type; what does not fit becomes null."""
    if word == "text":
        return column
    if word == "time":
        return read_time(column)
    column = column.str.strip_chars()
    if word == "bool":
        lower = column.str.to_lowercase()
        return (
            pl.when(lower == "true")
            .then(statement=True)
            .when(lower == "false")
            .then(statement=False)
        )
    return column.cast(_TYPES[word], strict=False)


def with_times(frame: pl.DataFrame, names: list[str]) -> pl.DataFrame | None:
    """Read some columns of text as times, quickly; None if one is written in another order.

    Raises:
        polars.exceptions.PolarsError: If one is no time, or not of the form of those before.
    """
    if not names:
        return frame
    if not frame.select(pl.all_horizontal(is_year_first(pl.col(n)).all() for n in names)).item():
        return None
    return frame.with_columns(pl.col(names).str.to_datetime(time_unit="us", time_zone="UTC"))


def tell(sample: pl.DataFrame) -> Columns:
    """Tell the types of text columns by a sample of them.

    A type is told if 99 % of the values have it; the others make their rows malformed. Digits with
    a zero in front, such as a post code, are text, and so are 19 or more of them, which no number
    type holds exactly; so is a column without a value.

    >>> tell(pl.DataFrame({"a": ["1", None], "b": ["1", "2.5"], "c": ["007", "1"]}))
    {'a': 'int', 'b': 'float', 'c': 'text'}
    """
    if not sample.width:
        return {}
    every = pl.all().str.strip_chars()
    facts = sample.select(
        pl.all().count().name.prefix("n:"),
        every.str.contains(_INT).mean().name.prefix("int:"),
        every.str.contains(_FLOAT).mean().name.prefix("float:"),
        every.str.contains(_NO_NUMBER).any().name.prefix("zero:"),
        every.is_in(["true", "false"]).mean().name.prefix("bool:"),
        every.str.contains(_ISO).mean().name.prefix("time:"),
    ).row(0, named=True)
    return {name: _tell_one(name, facts) for name in sample.columns}


def _tell_one(name: str, facts: Mapping[str, float]) -> str:
    if not facts[f"n:{name}"] or facts[f"zero:{name}"]:
        return "text"
    # The largest share wins: one float among whole numbers makes them all floats.
    share, word = max((facts[f"{word}:{name}"], -i) for i, word in enumerate(_TOLD))
    return _TOLD[-word] if share >= _MIN_SHARE else "text"
