"""Labels as classes and codes: one reading of them for training, the gate and live metrics."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from everloop.spec.errors import DataError
from everloop.spec.manifest import Task

MAX_CLASSES = 20
"""With more distinct whole numbers a label is a number and not a class, unless the task says so."""


def label_text(labels: pl.Series) -> pl.Series:
    """Write labels as text: whole numbers without a fraction, so that 1, 1.0 and '1' agree.

    >>> label_text(pl.Series([1.0, None, 2.5])).to_list()
    ['1', None, '2.5']
    """
    if labels.dtype == pl.Boolean:
        labels = labels.cast(pl.Int64)
    if labels.dtype.is_integer() or labels.dtype in (pl.String, pl.Categorical, pl.Enum):
        return labels.cast(pl.String)
    wide = labels.cast(pl.Float64).fill_nan(None)
    whole = wide.cast(pl.Int64, strict=False)
    is_whole = (whole.cast(pl.Float64) == wide).fill_null(value=False)
    return whole.cast(pl.String).zip_with(is_whole, wide.cast(pl.String))


def find_task(labels: pl.Series, task: Literal["auto"] | Task) -> tuple[Task, tuple[str, ...]]:
    """Find what a label asks for, and its classes in the order of their codes.

    ``auto``: two values are binary; text, or up to 20 whole numbers, are classes; the rest are
    numbers.

    Args:
        labels: Without nulls; numbers, booleans or text.
        task: Of the project file.

    Returns:
        The task and the classes as text, numbers in their own order; none for regression.

    Raises:
        DataError: If there is one value only, or the values do not fit the task asked for.
    """
    text = label_text(labels)
    is_text = labels.dtype in (pl.String, pl.Categorical, pl.Enum)
    distinct = text.unique().drop_nulls()
    if len(distinct) < 2:  # noqa: PLR2004 - a class and another
        raise DataError(
            f"the label: all {len(labels)} rows have {distinct.to_list()}, expected two values "
            "at least; look at sources[0].label.expression, or wait for more rows"
        )
    if task == "auto":
        task = _task_of(labels, len(distinct), is_text=is_text)
    if task == "regression":
        if is_text and text.cast(pl.Float64, strict=False).is_null().any():
            raise DataError("the label: found text, expected numbers for train.task 'regression'")
        return task, ()
    if task == "binary" and len(distinct) != 2:  # noqa: PLR2004
        raise DataError(
            f"the label: found {len(distinct)} values, expected 2 for train.task 'binary'; "
            "write sources[0].label as a comparison, or set train.task"
        )
    return task, tuple(sorted(distinct.to_list(), key=_class_order))


def label_codes(labels: pl.Series, task: Task, classes: Sequence[str]) -> npt.NDArray[Any]:
    """Turn labels into what metrics take.

    Returns:
        Shape (N,): float64 values for regression, NaN where a label is no number; int64 codes of
        the classes otherwise, -1 where a label is null or no known class.
    """
    if task == "regression":
        return labels.cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()
    codes = label_text(labels).cast(pl.Enum(classes), strict=False).to_physical().cast(pl.Int64)
    return codes.fill_null(-1).to_numpy()


def known_labels(
    labels: pl.Series, task: Task, classes: Sequence[str]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Return `label_codes`, and for which rows there is a number or a known class."""
    target = label_codes(labels, task, classes)
    return target, np.isfinite(target) if task == "regression" else target >= 0


def _task_of(labels: pl.Series, num_values: int, *, is_text: bool) -> Task:
    if num_values == 2:  # noqa: PLR2004
        return "binary"
    if is_text:
        return "multiclass"
    numbers = labels.cast(pl.Float64)
    is_whole = bool((numbers == numbers.round()).all())
    return "multiclass" if is_whole and num_values <= MAX_CLASSES else "regression"


def _class_order(text: str) -> tuple[int, float, str]:
    try:
        return (0, float(text), text)
    except ValueError:
        return (1, 0.0, text)
