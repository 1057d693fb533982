"""The lenient path of text formats: what reads well is read, the rest is kept as it is."""

from collections.abc import Sequence

import polars as pl

from everloop.ingest.columns import MALFORMED, Columns, from_text


def assemble(
    records: Sequence[bytes], places: pl.Series, texts: pl.DataFrame, columns: Columns
) -> pl.DataFrame:
    """Put the rows that could be read, and the records that could not, in their order.

    Args:
        records: All records of a piece.
        places: Which of them could be split into fields.
        texts: The fields of these as text; a row for each of `places`.
        columns: The type of each field.

    Returns:
        A row for each record. One that could not be split, or has a field that does not fit its
        type, has its text in ``_malformed``; the column is there only if there is such a row.
    """
    typed = texts.select(from_text(pl.col(name), columns[name]) for name in texts.columns)
    index = pl.Series([None], dtype=pl.Int64).new_from_index(0, len(records))
    index = index.scatter(places, pl.int_range(texts.height, eager=True))
    rows = typed.select(pl.all().gather(index))
    is_broken = _has_unfit(texts, typed).gather(index).fill_null(value=True)
    if not is_broken.any():
        return rows
    raw = [_legible(records[i]) for i in is_broken.arg_true()]
    text = pl.Series(MALFORMED, [None], dtype=pl.String).new_from_index(0, len(records))
    return rows.with_columns(text.scatter(is_broken.arg_true(), raw))


def decoded(records: Sequence[bytes]) -> pl.Series:
    """Return records as text; null where one is no UTF-8."""
    try:
        return pl.Series(records, dtype=pl.Binary).cast(pl.String)
    except pl.exceptions.PolarsError:
        return pl.Series([_decode(record) for record in records], dtype=pl.String)


def _decode(record: bytes) -> str | None:
    try:
        return record.decode()
    except UnicodeDecodeError:
        return None


def _has_unfit(texts: pl.DataFrame, typed: pl.DataFrame) -> pl.Series:
    found = pl.Series([False], dtype=pl.Boolean).new_from_index(0, texts.height)
    for name in texts.columns:
        found |= texts[name].is_not_null() & typed[name].is_null()
    return found


def _legible(record: bytes) -> str:
    """A record as text from which its bytes can be had back."""
    return record.removesuffix(b"\r").decode(errors="backslashreplace")
