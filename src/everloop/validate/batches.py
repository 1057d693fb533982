"""Which raw pieces are cleaned together, so that a kill changes nothing about it."""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from everloop.spec.project import SourceSpec
from everloop.store.tables import Table


@dataclass(frozen=True)
class CleanTables:
    """The three tables of a source."""

    raw: Table
    clean: Table
    quarantine: Table


@dataclass(frozen=True)
class Batch:
    """Raw pieces that are cleaned together.

    Attributes:
        first: Offset of the first piece.
        last: Offset of the last piece.
        rows: The raw rows.
        is_set_aside: Whether a killed run has committed the quarantine of just these pieces.
    """

    first: int
    last: int
    rows: pl.DataFrame
    is_set_aside: bool


def batches(source: SourceSpec, tables: CleanTables, version: int) -> Iterator[Batch]:
    """Read the pieces that are not in the clean table yet, at most `piece_rows` rows at a time.

    Args:
        source: The source.
        tables: Its tables.
        version: Of the raw table.
    """
    done, ahead = tables.clean.offset(source.name), tables.quarantine.offset(source.name)
    raw = tables.raw.scan(version)
    sizes = raw.filter(pl.col("_offset") > done).group_by("_offset").len().sort("_offset").collect()
    for first, last in _spans(sizes.rows(), source.piece_rows, ahead):
        rows = raw.filter(pl.col("_offset").is_between(first, last)).collect()
        yield Batch(first, last, rows, is_set_aside=ahead >= last)


def _spans(sizes: list[tuple[int, int]], max_rows: int, ahead: int) -> Iterator[tuple[int, int]]:
    """Group pieces of (offset, rows); those up to `ahead` are one group, as they were before."""
    first, last, num_rows = -1, -1, 0
    for offset, size in sizes:
        is_full = offset > ahead and (last <= ahead or num_rows + size > max_rows)
        if first >= 0 and is_full:
            yield first, last
            first, num_rows = -1, 0
        first = offset if first < 0 else first
        last, num_rows = offset, num_rows + size
    if first >= 0:
        yield first, last
