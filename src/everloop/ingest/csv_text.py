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
    polars_type,
    tell,
    with_times,
)
from everloop.ingest.malformed import assemble, decoded
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
        frame = with_times(_read(data, schema), times)
    except pl.exceptions.PolarsError:
        return None
    return frame if frame is not None and frame.height == num_rows else None


def _read(data: bytes, schema: dict[str, pl.DataType]) -> pl.DataFrame:
    return pl.read_csv(data, has_header=False, schema=schema, null_values=list(NULL_WORDS))


def _strings(header: Sequence[str]) -> dict[str, pl.DataType]:
    return {name: pl.String() for name in header}


def _parse_lenient(data: bytes, header: Sequence[str], columns: Columns) -> pl.DataFrame:
    records = _records(data, len(header) - 1)
    if len(header) > 1:
        records = [record for record in records if record.strip(b"\r")]
    texts = decoded(records).str.strip_suffix("\r")
    gaps = texts.str.replace_all(r'"[^"]*"', "").str.count_matches(",", literal=True)
    is_even = texts.str.count_matches('"', literal=True) % 2 == 0
    is_sound = ((gaps == len(header) - 1) & is_even).fill_null(value=False)
    places, rows = _rows(texts, is_sound, header)
    return assemble(records, places, rows, columns)


def _rows(
    texts: pl.Series, is_sound: pl.Series, header: Sequence[str]
) -> tuple[pl.Series, pl.DataFrame]:
    """Split sound records; if Polars finds another number of rows, those without a quote only."""
    is_plain = is_sound & ~texts.str.contains('"', literal=True).fill_null(value=True)
    for chosen in (is_sound, is_plain):
        lines = texts.filter(chosen)
        data = "".join(f"{line}\n" for line in lines).encode()
        try:
            rows = _read(data, _strings(header)) if data else pl.DataFrame(schema=_strings(header))
        except pl.exceptions.PolarsError:
            continue
        if rows.height == lines.len():
            return chosen.arg_true(), rows
    return is_sound.clear().arg_true(), pl.DataFrame(schema=_strings(header))


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
