"""The stage: pieces of a source into its raw table, each row exactly once."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from everloop.ingest.columns import MALFORMED
from everloop.ingest.pieces import Piece
from everloop.ingest.plans import read_plans, write_plan
from everloop.spec.errors import DataError
from everloop.spec.kinds import resolve
from everloop.spec.progress import Progress, no_progress
from everloop.spec.project import SourceSpec
from everloop.spec.record import Record
from everloop.store.objects import Objects
from everloop.store.tables import Table

SOURCES = {"files": "everloop.ingest.files:FileSource"}
"""Kind of source to the class that reads it."""


class IngestReport(Record):
    """What one run took in.

    Attributes:
        source: The source's name.
        num_pieces: Pieces committed.
        num_rows: Rows in them, malformed ones among them.
        offset: The newest piece of the table; -1 if it has none.
    """

    source: str
    num_pieces: int = 0
    num_rows: int = 0
    offset: int = -1


def ingest(
    source: SourceSpec, table: Table, objects: Objects, root: Path, progress: Progress = no_progress
) -> IngestReport:
    """Commit what the source has and the table has not.

    Rows get ``_source``, ``_offset`` (the piece) and ``_row`` (the row in its file, from 0). A row
    that could not be read has its text in ``_malformed``.

    Raises:
        DataError: If no file matches, there is no row at all, or a file cannot be taken in.
        ConflictError: If another process ingests the same source.
    """
    num_pieces = num_rows = 0
    for piece in _pieces(source, table, objects, root):
        _commit(piece, source, table)
        num_pieces += 1
        num_rows += piece.plan.num_rows
        progress("rows", num_rows)
    offset = table.offset(source.name)
    if offset < 0:
        raise DataError(
            f"source {source.name!r}: the files that match {source.path!r} hold no row; check them"
        )
    return IngestReport(source=source.name, num_pieces=num_pieces, num_rows=num_rows, offset=offset)


def _commit(piece: Piece, source: SourceSpec, table: Table) -> None:
    try:
        table.append(_marked(piece, source.name), app=source.name, offset=piece.plan.number)
    except DataError as error:
        raise DataError(f"source {source.name!r}, file {piece.plan.file}: {error}") from error


def _pieces(source: SourceSpec, table: Table, objects: Objects, root: Path) -> Iterator[Piece]:
    reader = resolve(SOURCES, source.kind, where="sources.kind", extra="data")(source, root)
    plans = read_plans(objects, source.name)
    done = table.offset(source.name)
    if len(plans) > done + 2:
        raise DataError(
            f"{table.name}: holds pieces up to {done}, expected {len(plans) - 2} by the plans in "
            f"ingest/{source.name}; restore the table, or remove those plans to start over"
        )
    if len(plans) > done + 1:
        yield reader.again(plans[-1])
    for piece in reader.pieces(plans):
        write_plan(objects, source.name, piece.plan)
        yield piece


def _marked(piece: Piece, source: str) -> pl.LazyFrame:
    has_malformed = MALFORMED in piece.rows.collect_schema()
    return piece.rows.with_row_index("_row", piece.plan.start_row).select(
        pl.exclude("_row", MALFORMED),
        *([pl.col(MALFORMED)] if has_malformed else []),
        _source=pl.lit(source),
        _offset=pl.lit(piece.plan.number, dtype=pl.Int64),
        _row=pl.col("_row").cast(pl.Int64),
    )
