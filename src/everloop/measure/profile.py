"""What columns look like: counts on frozen bins and by category, nulls, moments.

Profiles on the same bins add up, whichever way the rows were cut: across days, replicas, workers.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from everloop.spec.record import Record
from everloop.store.texts import number_text

ColumnKind = Literal["number", "category", "time"]
_FEW_EDGES = 64


class NumberProfile(Record):
    """Counts of a number column.

    Attributes:
        kind: Tells the two kinds of column apart.
        edges: Rising. Bin 0 holds what is at most ``edges[0]``: less than the reference's
            smallest. Bin i holds what is over ``edges[i - 1]`` and at most ``edges[i]``; the last
            bin holds what is over the reference's largest.
        counts: Rows of each bin, shape (len(edges) + 1,).
        nulls: Rows with null or NaN.
        num_finite: Rows the moments are of; an infinite number counts in the outer bins alone.
        mean: Of the finite numbers; 0 where there is none.
        m2: Sum of squared distances from the mean.
    """

    kind: Literal["number"] = "number"
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    nulls: int
    num_finite: int = 0
    mean: float = 0.0
    m2: float = 0.0

    @property
    def all_counts(self) -> tuple[int, ...]:
        """Counts of all bins with the nulls last; they add up to the profile's rows."""
        return (*self.counts, self.nulls)


class CategoryProfile(Record):
    """Counts of a category column.

    Attributes:
        kind: Tells the two kinds of column apart.
        values: The reference's most frequent values.
        counts: Rows of each, shape (len(values),).
        other: Rows with any other value.
        nulls: Rows with null.
    """

    kind: Literal["category"] = "category"
    values: tuple[str, ...]
    counts: tuple[int, ...]
    other: int
    nulls: int

    @property
    def all_counts(self) -> tuple[int, ...]:
        """Counts of all values, then other and null; they add up to the profile's rows."""
        return (*self.counts, self.other, self.nulls)


ColumnProfile = Annotated[NumberProfile | CategoryProfile, Field(discriminator="kind")]


class Profile(Record):
    """What the columns of some rows look like."""

    num_rows: int
    columns: dict[str, ColumnProfile]


def make_profile(
    frame: pl.DataFrame,
    *,
    bins: int,
    kinds: Mapping[str, ColumnKind] | None = None,
    max_values: int = 100,
) -> Profile:
    """Profile a reference: its quantiles become the bins that later profiles are counted on.

    Columns that everloop adds (``_...``), times and nested columns are left out.

    Args:
        frame: The rows.
        bins: Bins of a number column, about equally full; a column with at most so many different
            numbers gets one for each.
        kinds: What a column is, where its type does not say so.
        max_values: A category column's values that are counted one by one.
    """
    columns: dict[str, NumberProfile | CategoryProfile] = {}
    for name, dtype in frame.schema.items():
        kind = (kinds or {}).get(name) or _kind_of(dtype)
        if name.startswith("_") or kind not in ("number", "category"):
            continue
        if kind == "number":
            numbers = _numbers(frame[name])
            columns[name] = _count_numbers(numbers, _edges(numbers, bins))
        else:
            texts = _texts(frame[name])
            columns[name] = _count_texts(texts, _top_values(texts, max_values))
    return Profile(num_rows=frame.height, columns=columns)


def profile_like(frame: pl.DataFrame, reference: Profile) -> Profile:
    """Profile rows on the bins and values of a reference.

    A column that the frame lacks counts as null in every row; a text that is no number, in a number
    column, as null.
    """
    columns: dict[str, NumberProfile | CategoryProfile] = {}
    for name, column in reference.columns.items():
        series = frame[name] if name in frame.columns else pl.repeat(None, frame.height, eager=True)
        if isinstance(column, NumberProfile):
            columns[name] = _count_numbers(_numbers(series), np.array(column.edges))
        else:
            columns[name] = _count_texts(_texts(series), column.values)
    return Profile(num_rows=frame.height, columns=columns)


def merge(a: Profile, b: Profile) -> Profile:
    """Add two profiles up, as if their rows had been profiled together.

    Raises:
        ValueError: If they were not counted on the same columns, bins and values.

    Source:
        Moments: Chan, Golub and LeVeque, The American Statistician 37 (1983).
    """
    if list(a.columns) != list(b.columns):
        raise ValueError(f"profiles of {list(a.columns)} and {list(b.columns)} do not add up")
    columns = {name: _merge_columns(name, a.columns[name], b.columns[name]) for name in a.columns}
    return Profile(num_rows=a.num_rows + b.num_rows, columns=columns)


def _kind_of(dtype: pl.DataType) -> ColumnKind | None:
    if dtype.is_numeric():
        return "number"
    if isinstance(dtype, pl.String | pl.Categorical | pl.Enum | pl.Boolean):
        return "category"
    return None


def _numbers(series: pl.Series) -> npt.NDArray[np.float64]:
    if isinstance(series.dtype, pl.Categorical | pl.Enum):
        series = series.cast(pl.String)
    return series.cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()


def _texts(series: pl.Series) -> pl.Series:
    if series.dtype.is_float():
        # As such a category is sent and logged.
        return pl.select(number_text(pl.lit(series))).to_series()
    return series.cast(pl.String)


def _edges(numbers: npt.NDArray[np.float64], bins: int) -> npt.NDArray[np.float64]:
    finite = np.sort(numbers[np.isfinite(numbers)])
    if len(finite) == 0:
        return np.empty(0)
    is_first = np.concatenate([[True], finite[1:] != finite[:-1]])
    if np.count_nonzero(is_first) <= bins:
        upper = finite[is_first]
    else:
        at = np.ceil(np.arange(1, bins + 1) / bins * len(finite)).astype(np.int64) - 1
        upper = np.unique(finite[at])
    # The number just under the smallest closes the bin of what the reference never went down to.
    below = np.nextafter(finite[0], -np.inf)
    return np.concatenate([[below], upper]) if np.isfinite(below) else upper


def _count_numbers(
    numbers: npt.NDArray[np.float64], edges: npt.NDArray[np.float64]
) -> NumberProfile:
    numbers = numbers[~np.isnan(numbers)] if (nulls := int(np.isnan(numbers).sum())) else numbers
    finite = numbers if np.isfinite(numbers).all() else numbers[np.isfinite(numbers)]
    mean = float(finite.mean()) if len(finite) else 0.0
    # Numbers near the largest double overflow in the square; the record holds finite ones only.
    with np.errstate(over="ignore"):
        m2 = float(np.square(finite - mean).sum())
    largest = float(np.finfo(np.float64).max)
    return NumberProfile(
        edges=tuple(edges.tolist()),
        counts=tuple(_histogram(numbers, edges).tolist()),
        nulls=nulls,
        num_finite=len(finite),
        mean=float(np.clip(mean, -largest, largest)),
        m2=min(m2, largest),
    )


def _histogram(
    numbers: npt.NDArray[np.float64], edges: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    # One pass of comparisons for each edge beats a search for each number while edges are few.
    if len(edges) <= _FEW_EDGES:
        up_to = [np.count_nonzero(numbers <= edge) for edge in edges]
        return np.asarray(np.array([*up_to, len(numbers)]) - np.array([0, *up_to]), np.int64)
    return np.bincount(np.searchsorted(edges, numbers, "left"), minlength=len(edges) + 1)


def _top_values(texts: pl.Series, max_values: int) -> tuple[str, ...]:
    counted = texts.drop_nulls().alias("value").value_counts()
    top = counted.sort(["count", "value"], descending=[True, False]).head(max_values)
    return tuple(top["value"].to_list())


def _count_texts(texts: pl.Series, values: tuple[str, ...]) -> CategoryProfile:
    counted = texts.drop_nulls().alias("value").value_counts()
    known = counted.filter(pl.col("value").is_in(list(values)))
    found: dict[str, int] = dict(known.iter_rows())
    return CategoryProfile(
        values=values,
        counts=tuple(found.get(value, 0) for value in values),
        other=int(counted["count"].sum()) - sum(found.values()),
        nulls=texts.null_count(),
    )


def _merge_columns(name: str, a: ColumnProfile, b: ColumnProfile) -> ColumnProfile:
    if isinstance(a, NumberProfile) and isinstance(b, NumberProfile) and a.edges == b.edges:
        return _merge_numbers(a, b)
    if isinstance(a, CategoryProfile) and isinstance(b, CategoryProfile) and a.values == b.values:
        return CategoryProfile(
            values=a.values,
            counts=_add(a.counts, b.counts),
            other=a.other + b.other,
            nulls=a.nulls + b.nulls,
        )
    raise ValueError(f"column {name!r}: the two profiles were not counted on the same bins")


def _merge_numbers(a: NumberProfile, b: NumberProfile) -> NumberProfile:
    num = a.num_finite + b.num_finite
    step = b.mean - a.mean
    return NumberProfile(
        edges=a.edges,
        counts=_add(a.counts, b.counts),
        nulls=a.nulls + b.nulls,
        num_finite=num,
        mean=a.mean + step * b.num_finite / max(num, 1),
        m2=a.m2 + b.m2 + step**2 * a.num_finite * b.num_finite / max(num, 1),
    )


def _add(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(x + y for x, y in zip(a, b, strict=True))
