"""Parquet files: rows by range, straight from file to table where every value is sure to fit."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from everloop.ingest.columns import (
    MALFORMED,
    Columns,
    check_names,
    polars_type,
    stored,
    widened,
    word_of,
)
from everloop.ingest.pieces import FileJob, Piece, changed, check_columns
from everloop.ingest.plans import Plan
from everloop.spec.errors import DataError

_MAGIC = b"PAR1"
_TAIL_BYTES = 8
_MAX_FOOTER_BYTES = 256 << 20


def parquet_pieces(job: FileJob) -> Iterator[Piece]:
    """Read a Parquet file's rows that no plan holds.

    Raises:
        DataError: If the file is no Parquet, damaged, lacks a column, or was changed.
    """
    digest = _footer_digest(job.path, job.where)
    if job.done and digest != job.done[-1].digest:
        raise changed(job.where)
    schema, num_rows = _open(job.path, job.where)
    check_columns(schema.names(), job)
    found = {name: word_of(dtype) for name, dtype in schema.items()}
    columns = widened(job.draft.columns, found, job.where)
    for start in range(job.done[-1].end if job.done else 0, num_rows, job.piece_rows):
        end = min(start + job.piece_rows, num_rows)
        facts = {
            "digest": digest, "start": start, "end": end, "start_row": start,
            "num_rows": end - start, "columns": columns, "is_last": end == num_rows,
        }  # fmt: skip
        yield Piece(
            job.draft.model_copy(update=facts), _rows(job.path, columns, start, end, job.where)
        )


def parquet_again(plan: Plan, path: Path, where: str) -> Piece:
    """Read a plan's rows once more.

    Raises:
        DataError: If the file has changed.
    """
    if _footer_digest(path, where) != plan.digest:
        raise changed(where)
    return Piece(plan, _rows(path, plan.columns, plan.start, plan.end, where))


def _footer_digest(path: Path, where: str) -> str:
    """Return the sha256 of a file's footer, which tells of each row group where it lies and more.

    Raises:
        DataError: If the file is cut short or no Parquet file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        is_begun = file.read(len(_MAGIC)) == _MAGIC
        file.seek(max(size - _TAIL_BYTES, 0))
        tail = file.read()
        length = int.from_bytes(tail[:4], "little")
        if not is_begun or not tail.endswith(_MAGIC) or length > min(size, _MAX_FOOTER_BYTES):
            found = "a Parquet file that is cut short" if is_begun else "another kind of file"
            raise DataError(
                f"{where}: found {found}, expected Parquet; write it again, and move it into place "
                f"only when it is whole"
            )
        file.seek(size - _TAIL_BYTES - length)
        return hashlib.sha256(file.read()).hexdigest()


def _open(path: Path, where: str) -> tuple[pl.Schema, int]:
    """Return a file's columns and how many rows it has.

    Raises:
        DataError: If the file cannot be read, or a column's name cannot be used.
    """
    try:
        frame = pl.scan_parquet(path, glob=False, hive_partitioning=False)
        schema = frame.collect_schema()
        num_rows = int(frame.select(pl.len()).collect().item())
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _unreadable(where, error) from error
    check_names(schema.names(), where)
    return schema, num_rows


def _unreadable(where: str, error: Exception) -> DataError:
    """Say that a file's content is damaged."""
    text = " ".join(str(error).split())[:300]
    return DataError(f"{where}: cannot be read as Parquet ({text}); write it again")


def _rows(path: Path, columns: Columns, start: int, end: int, where: str) -> pl.LazyFrame:
    """Read a range of rows.

    Args:
        path: Of the file.
        columns: The types that the columns are stored as.
        start: First row.
        end: One past the last.
        where: Names the file in messages.

    Returns:
        The rows; lazy if every value is sure to fit. Otherwise a row with a value that does not fit
        has all its values as JSON in ``_malformed``.

    Raises:
        DataError: If the file cannot be read.
    """
    frame = pl.scan_parquet(path, glob=False, hive_partitioning=False).slice(start, end - start)
    schema = frame.collect_schema()
    cast = [stored(name, dtype, columns[name]) for name, dtype in schema.items()]
    doubtful = [n for n, dtype in schema.items() if not _always_fits(dtype, columns[n])]
    if not doubtful:
        return frame.select(cast)
    try:
        rows = frame.collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _unreadable(where, error) from error
    typed = rows.select(cast)
    broken = rows.select(
        unfit=pl.any_horizontal(pl.col(n).is_not_null() & typed[n].is_null() for n in doubtful)
    )["unfit"]
    if not broken.any():
        return typed.lazy()
    plain = rows.with_columns(_legible(name, dtype) for name, dtype in schema.items())
    text = pl.when(broken).then(pl.struct(plain.get_columns()).struct.json_encode())
    return typed.with_columns(plain.select(text.alias(MALFORMED))).lazy()


def _always_fits(dtype: pl.DataType, word: str) -> bool:
    if polars_type(word) == dtype:
        return True
    if word == "int":
        is_wide = dtype.base_type() in {pl.UInt64, pl.Int128, pl.UInt128}
        return (dtype.is_integer() and not is_wide) or dtype == pl.Duration
    return {
        "float": dtype.is_numeric() and not dtype.is_decimal(),
        "text": dtype != pl.Binary,
        "time": dtype.base_type() in {pl.Datetime, pl.Date},
    }.get(word, False)


def _legible(name: str, dtype: pl.DataType) -> pl.Expr:
    return pl.col(name).bin.encode("base64") if dtype == pl.Binary else pl.col(name)
