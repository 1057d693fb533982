"""JSON lines: one object a line; what is no object, or does not fit, is set aside as it is."""

import io
import json

import polars as pl

from everloop.ingest.columns import (
    Columns,
    check_names,
    polars_type,
    tell,
    with_times,
    word_of,
)
from everloop.ingest.malformed import assemble


def tell_columns(data: bytes, where: str) -> Columns:
    """Tell the names and types in some lines; every line is looked at, so that no name is missed.

    Raises:
        DataError: If a name is one that everloop adds itself.
    """
    frame = _infer(data)
    if frame is None:
        sound = _sound_lines(_lines(data))[1]
        frame = _infer(_joined(sound))
        if frame is None and sound:
            # Such as a number in one line and a list in another, which have no type in common.
            return _tell_by_value(sound, where)
    if frame is None:
        return {}
    check_names(frame.columns, where)
    texts = tell(frame.select(pl.col(pl.String)))
    # Only times are told from text: a number in quotes was meant to be text.
    times = {name: "time" for name, word in texts.items() if word == "time"}
    return {name: word_of(dtype) for name, dtype in frame.schema.items()} | times


def _tell_by_value(lines: list[bytes], where: str) -> Columns:
    found: dict[str, set[type]] = {}
    for line in lines:
        for name, value in json.loads(line).items():
            found.setdefault(name, set()).add(type(value))
    check_names(found, where)
    return {name: _word_of_values(types - {type(None)}) for name, types in found.items()}


def _word_of_values(types: set[type]) -> str:
    if not types or not types <= {int, float, bool}:
        return "text"
    if bool in types:
        return "bool" if len(types) == 1 else "text"
    return "float" if float in types else "int"


def parse(data: bytes, columns: Columns) -> pl.DataFrame:
    """Read whole lines.

    Args:
        data: The lines.
        columns: The columns to read, and their types.

    Returns:
        A row for each line that is not blank, in order, with ``_malformed`` as for CSV.
    """
    frame = _parse_strict(data, columns)
    return _parse_lenient(data, columns) if frame is None else frame


def _infer(data: bytes) -> pl.DataFrame | None:
    try:
        return pl.read_ndjson(io.BytesIO(data), infer_schema_length=None) if data.strip() else None
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return None


def _parse_strict(data: bytes, columns: Columns) -> pl.DataFrame | None:
    schema = {n: pl.String() if w == "time" else polars_type(w) for n, w in columns.items()}
    times = [name for name, word in columns.items() if word == "time"]
    try:
        frame = with_times(pl.read_ndjson(io.BytesIO(data), schema=schema), times)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return None
    # A row for each line: fewer means that blank lines were left out, which is as it should be, but
    # has to be counted line by line.
    if frame is None:
        return None
    return frame if frame.height == data.count(b"\n") + (not data.endswith(b"\n")) else None


def _parse_lenient(data: bytes, columns: Columns) -> pl.DataFrame:
    lines = _lines(data)
    places, sound = _sound_lines(lines)
    strings = dict.fromkeys(columns, pl.String())
    texts = pl.DataFrame(schema=strings)
    if sound and strings:
        texts = pl.read_ndjson(io.BytesIO(_joined(sound)), schema=strings)
    return assemble(lines, pl.Series(places, dtype=pl.Int64), texts, columns)


def _lines(data: bytes) -> list[bytes]:
    return [line for line in data.split(b"\n") if line.strip()]


def _joined(lines: list[bytes]) -> bytes:
    return b"\n".join(lines)


def _sound_lines(lines: list[bytes]) -> tuple[list[int], list[bytes]]:
    found = [(i, line) for i, line in enumerate(lines) if _is_object(line)]
    if not _reads(_joined([line for _, line in found])):
        found = [(i, line) for i, line in found if _reads(line)]
    return [i for i, _ in found], [line for _, line in found]


def _reads(data: bytes) -> bool:
    """Whether Polars takes objects too: it knows no number past the largest ones."""
    try:
        pl.read_ndjson(io.BytesIO(data), schema={"_": pl.String()})
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return not data
    return True


def _refuse(word: str) -> None:
    raise ValueError(word)


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line.decode(), parse_constant=_refuse), dict)
    except (ValueError, RecursionError):
        return False
