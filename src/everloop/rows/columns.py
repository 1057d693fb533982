"""How columns lie in the encoded matrices; what the three forms of the row steps agree on.

Letters of shapes: N rows, F numbers, C codes, P parts of a calendar.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from everloop.spec.errors import DataError
from everloop.spec.steps import ColumnSteps, FittedStep

NULL_TIME: Final = -(2**63)
"""What a null time is as INT64."""

FIRST_SECOND: Final = -62_135_596_800
LAST_SECOND: Final = 253_402_300_799
"""The years 1 to 9999, which is what both Python and Polars can hold."""

WHITESPACE: Final = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""What ``trim`` takes off: Unicode's White_Space, spelt out since Python's own idea differs."""

TEXT_STEPS: Final = frozenset({"trim", "lower", "parse"})
"""Steps that run before the graph."""

OUTPUTS: Final = {
    "binary": "probability",
    "multiclass": "probabilities",
    "regression": "prediction",
}
"""Task to the name of the graph's output."""


LOGGED: Final = frozenset(
    {"_prediction_id", "_received_at", "_time", "_version", "_replica", "_prediction"}
)
"""What is logged of every prediction beside its inputs."""


def graph_steps(column: ColumnSteps) -> tuple[FittedStep, ...]:
    """Return the steps that the graph runs."""
    return tuple(step for step in column.steps if step.kind not in TEXT_STEPS)


def number_groups(columns: Sequence[ColumnSteps]) -> Iterator[tuple[ColumnSteps, ...]]:
    """Group the columns that become numbers, in the order of the encoded matrix.

    Number columns with the same kinds of steps stand together, so that the graph runs each step
    once on a matrix and not once a column; each time column is a group of its own.
    """
    numbers = [column for column in columns if column.kind == "number"]
    first = {_kinds(column): i for i, column in reversed(list(enumerate(numbers)))}
    numbers.sort(key=lambda column: first[_kinds(column)])
    for _, group in groupby(numbers, key=_kinds):
        yield tuple(group)
    for column in columns:
        if column.kind == "time":
            yield (column,)


def code_columns(columns: Sequence[ColumnSteps]) -> tuple[ColumnSteps, ...]:
    """Return the columns that become codes, in the order of the encoded matrix."""
    return tuple(column for column in columns if column.is_code)


def number_names(columns: Sequence[ColumnSteps]) -> tuple[str, ...]:
    """Name the columns of the encoded numbers, shape (F,).

    >>> time = ColumnSteps(
    ...     name="at", kind="time", steps=(FittedStep(kind="calendar", parts=("month",)),)
    ... )
    >>> number_names([time, ColumnSteps(name="age", kind="number")])
    ('age', 'at.month')
    """
    return tuple(
        name for group in number_groups(columns) for column in group for name in _names(column)
    )


def code_names(columns: Sequence[ColumnSteps]) -> tuple[str, ...]:
    """Name the columns of the encoded codes, shape (C,)."""
    return tuple(column.name for column in code_columns(columns))


def code_sizes(columns: Sequence[ColumnSteps]) -> tuple[int, ...]:
    """Return how many codes each category column has, 0 for unknown and null included."""
    return tuple(len(column.steps[-1].values) + 1 for column in code_columns(columns))


def check_names(columns: Sequence[ColumnSteps]) -> None:
    """Make sure every column can be an input of a graph.

    Raises:
        DataError: If a name is taken by the graph itself, or by what is logged beside the inputs.
    """
    for column in columns:
        if column.name in LOGGED:
            raise DataError(
                f"column {column.name!r}: the log of predictions uses this name itself; "
                "give the column another name, or leave it out of train.features"
            )
        if column.name in OUTPUTS.values() or column.name.startswith(("rows/", "core/", "tail/")):
            raise DataError(
                f"column {column.name!r}: a model's graph uses this name itself; "
                "give the column another name, or leave it out of train.features"
            )


def _kinds(column: ColumnSteps) -> tuple[str, ...]:
    return tuple(step.kind for step in graph_steps(column))


def _names(column: ColumnSteps) -> tuple[str, ...]:
    if column.kind == "number":
        return (column.name,)
    return tuple(f"{column.name}.{part}" for part in graph_steps(column)[0].parts)
