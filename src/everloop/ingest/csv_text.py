"""CSV: a fast path for sound pieces, and a lenient one that sets broken rows aside as they are.

Polars fills a short row with nulls without a word, so the fast path also counts: a piece is sound
if it parses strictly, has a row for each line break and a separator for each gap between fields.
"""

from collections.abc import Sequence

import polars as pl

from everloop.ingest.columns import (
    MALFORMED,
    NULL_WORDS,
    Columns,
    check_names,
    from_text,
    polars_type,
    tell,
)
from everloop.spec.errors import DataError

_MAX_QUOTED_LINES = 1000


def header_of(block: bytes, where: str) -> tuple[tuple[str, ...], int]:
    """Read the names in a file's first line.

    Returns:
        The names, and how many bytes the line takes; none if there is no line.

    Raises:
        DataError: If the line is no UTF-8, or a name is used twice.
    """
    end = block.find(b"\n") + 1 or len(block)
    if not block[:end].strip():
        return (), end
    try:
        text = block[:end].decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where}: found byte {block[error.start]:#04x} at byte {error.start} of the header, "
            f"expected UTF-8; save the file as UTF-8"
        ) from error
    row = pl.read_csv(text.encode(), has_header=False, infer_schema=False, n_rows=1).row(0)
    names = tuple((name or "").strip() or f"column_{i + 1}" for i, name in enumerate(row))
    check_names(names, where)
    return names, end


def tell_columns(samples: Sequence[bytes], header: Sequence[str]) -> Columns:
    """Tell the types of a file's columns by its sound rows in some samples of whole lines."""
    texts = dict.fromkeys(header, "text")
    frames = [_sound(parse(sample, header, texts)).select(header) for sample in samples if sample]
    return tell(pl.concat([pl.DataFrame(schema=_strings(header)), *frames]))


def _sound(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.filter(pl.col(MALFORMED).is_null()) if MALFORMED in frame.columns else frame


def parse(data: bytes, header: Sequence[str], columns: Columns) -> pl.DataFrame:
    """Read whole records.

    Args:
        data: Lines without the header.
        header: The file's columns, in its order.
        columns: The type of each.

    Returns:
        A row for each record, in order. A record that cannot be read has its text in
        ``_malformed``, a column that is there only if there is such a record.
    """
    if not data.endswith(b"\n"):
        data += b"\n"
    frame = _parse_strict(data, header, columns)
    return _parse_lenient(data, header, columns) if frame is None else frame


def _parse_strict(data: bytes, header: Sequence[str], columns: Columns) -> pl.DataFrame | None:
    outside = b"".join(data.split(b'"')[::2]) if b'"' in data else data
    num_rows = outside.count(b"\n")
    if outside.count(b",") != num_rows * (len(header) - 1):
        return None
    times = [name for name in header if columns[name] == "time"]
    schema = {name: pl.String() if name in times else polars_type(columns[name]) for name in header}
    try:
        frame = _read(data, schema).with_columns(
            pl.col(times).str.to_datetime(time_unit="us", time_zone="UTC")
        )
    except pl.exceptions.PolarsError:
        return None
    return frame if frame.height == num_rows else None


def _read(data: bytes, schema: dict[str, pl.DataType]) -> pl.DataFrame:
    return pl.read_csv(data, has_header=False, schema=schema, null_values=list(NULL_WORDS))


def _strings(header: Sequence[str]) -> dict[str, pl.DataType]:
    return {name: pl.String() for name in header}


def _parse_lenient(data: bytes, header: Sequence[str], columns: Columns) -> pl.DataFrame:
    records = pl.DataFrame(
        {"record": pl.Series(_records(data, len(header) - 1), dtype=pl.Binary)}
    ).select("record", text=pl.col("record").cast(pl.String, strict=False).str.strip_suffix("\r"))
    if len(header) > 1:
        records = records.filter(pl.col("text").is_null() | (pl.col("text") != ""))
    gaps = pl.col("text").str.replace_all(r'"[^"]*"', "").str.count_matches(",", literal=True)
    odd = pl.col("text").str.count_matches('"', literal=True) % 2 == 1
    records = records.with_columns(
        sound=((gaps == len(header) - 1) & ~odd).fill_null(value=False)
    ).with_row_index("place")
    rows = _sound_rows(records.filter("sound"), header)
    typed = rows.select("place", *(from_text(pl.col(name), columns[name]) for name in header))
    unfit = pl.any_horizontal(
        pl.lit(value=False),
        *(pl.col(name).is_not_null() & typed[name].is_null() for name in header),
    )
    typed = typed.with_columns(rows.select(_fits=~unfit))
    merged = records.select("place", "record", "text").join(
        typed, on="place", how="left", maintain_order="left"
    )
    broken = merged["_fits"].fill_null(value=False).not_()
    if not broken.any():
        return merged.select(header)
    raw = pl.Series([_legible(r) for r in merged["record"].filter(broken)], dtype=pl.String)
    return merged.select(header).with_columns(_scatter(broken, raw))


def _scatter(where: pl.Series, values: pl.Series) -> pl.Series:
    empty = pl.Series(MALFORMED, [None], dtype=pl.String).extend_constant(None, len(where) - 1)
    return empty.scatter(where.arg_true(), values)


def _legible(record: bytes) -> str:
    """A record as text from which its bytes can be had back."""
    return record.removesuffix(b"\r").decode(errors="backslashreplace")


def _sound_rows(records: pl.DataFrame, header: Sequence[str]) -> pl.DataFrame:
    """Rows of texts with the right number of fields; what Polars reads otherwise is left out."""
    for kept in (records, records.filter(~pl.col("text").str.contains('"', literal=True))):
        if not kept.height:
            break
        data = ("\n".join(kept["text"].to_list()) + "\n").encode()
        try:
            rows = _read(data, _strings(header))
        except pl.exceptions.PolarsError:
            continue
        if rows.height == kept.height:
            return rows.with_columns(kept["place"])
    return pl.DataFrame(schema={**_strings(header), "place": pl.get_index_type()})


def _records(data: bytes, num_gaps: int) -> list[bytes]:
    """Split at the line breaks that do not lie between quotes."""
    lines = data.split(b"\n")[:-1]
    odd = [i for i, line in enumerate(lines) if line.count(b'"') % 2] if b'"' in data else []
    found: list[bytes] = []
    done = at = 0
    while at < len(odd):
        first, last = odd[at], odd[min(at + 1, len(odd) - 1)]
        # Two lines with a quote too many are one record if that has the right number of fields;
        # otherwise the first is a record with a stray quote.
        record = b"\n".join(lines[first : last + 1]) if last - first < _MAX_QUOTED_LINES else b""
        is_pair = last > first and b"".join(record.split(b'"')[::2]).count(b",") == num_gaps
        found += [*lines[done:first], record if is_pair else lines[first]]
        done, at = (last + 1, at + 2) if is_pair else (first + 1, at + 1)
    return found + lines[done:]
