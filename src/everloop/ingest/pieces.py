"""What a source hands over: rows that are committed together, and the file they are read from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from everloop.ingest.plans import Plan
from everloop.spec.errors import DataError


@dataclass(frozen=True)
class Piece:
    """Rows of a source that are committed together.

    Attributes:
        plan: What they are.
        rows: The source's columns, and ``_malformed`` if there are rows that could not be read.
    """

    plan: Plan
    rows: pl.LazyFrame


@dataclass(frozen=True)
class FileJob:
    """A file with rows that no plan holds yet.

    Attributes:
        path: Of the file.
        where: Names the file in messages.
        draft: A plan with what is known of the file; its columns are those of the files before.
        done: Plans of this file, each of them committed.
        is_same: Whether size and time of change are as in the last of them.
        piece_rows: Rows of a piece at most.
    """

    path: Path
    where: str
    draft: Plan
    done: Sequence[Plan]
    is_same: bool
    piece_rows: int


def changed(where: str) -> DataError:
    """Say that a file is not what it was when its first rows were taken in."""
    return DataError(
        f"{where}: changed after rows of it were taken in, expected it as it was, "
        f"or with lines added at its end; put it back, and new rows into a new file; or, as "
        f"long as none of its rows were kept, `everloop ingest --anew` reads all files again"
    )


def check_columns(names: Sequence[str], job: FileJob) -> None:
    """Check that a new file has every column that the files before it had.

    Raises:
        DataError: If it lacks one.
    """
    missing = [name for name in job.draft.columns if name not in names]
    if missing and not job.done:
        raise DataError(
            f"{job.where}: lacks {', '.join(map(repr, missing))}, which earlier files have; it has "
            f"{', '.join(map(repr, names)) or 'no column'}. Add the column, empty if need be"
        )
