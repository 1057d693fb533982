"""CSV and JSON lines files in pieces; a file that grew gives its new lines only."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from everloop.ingest import csv_text, json_text
from everloop.ingest.columns import Columns, widened
from everloop.ingest.pieces import FileJob, Piece, changed, check_columns
from everloop.ingest.plans import Plan
from everloop.ingest.text import COMPRESSED, Range, TextFile, begin, ranges

_NUM_SAMPLES, _SAMPLE_BYTES, _HEAD_BYTES = 16, 256 << 10, 4 << 20


def text_pieces(job: FileJob) -> Iterator[Piece]:
    """Read a text file's new rows.

    Raises:
        DataError: If the file cannot be read, or was changed other than by lines at its end.
    """
    header, columns, start = _begin(job)
    start_row = 0
    if job.done:
        start, start_row = _resume(job, header), job.done[-1].start_row + job.done[-1].num_rows
    plan = job.draft.model_copy(update={"header": header, "columns": columns})
    with TextFile(job.path, job.where) as file:
        for part in ranges(
            file, start, num_rows=job.piece_rows, quoted=plan.format == "csv", where=job.where
        ):
            piece = _piece(plan, part, start_row, job.where)
            plan = piece.plan
            start_row += plan.num_rows
            if plan.num_rows:
                yield piece


def _piece(plan: Plan, part: Range, start_row: int, where: str) -> Piece:
    columns = plan.columns
    if plan.format == "jsonl":
        columns = widened(columns, json_text.tell_columns(part.data, where), where)
    rows = _parse(plan.format, part.data, plan.header, columns)
    facts = {
        "digest": part.digest, "start": part.start, "end": part.end, "start_row": start_row,
        "num_rows": rows.height, "columns": columns, "is_last": part.is_last,
    }  # fmt: skip
    return Piece(plan.model_copy(update=facts), rows.lazy())


def text_again(plan: Plan, path: Path, where: str) -> Piece:
    """Read a plan's rows once more.

    Raises:
        DataError: If the file has changed there.
    """
    data = _read(path, plan, where)
    return Piece(plan, _parse(plan.format, data, plan.header, plan.columns).lazy())


def _parse(kind: str, data: bytes, header: Sequence[str], columns: Columns) -> pl.DataFrame:
    if kind == "jsonl":
        return json_text.parse(data, columns)
    return csv_text.parse(data, header, columns)


def _read(path: Path, plan: Plan, where: str) -> bytes:
    with TextFile(path, where) as file:
        file.skip_to(plan.start)
        data = file.read(plan.end - plan.start)
    if Range(data, plan.start, is_last=False).digest != plan.digest:
        raise changed(where)
    return data


def _begin(job: FileJob) -> tuple[tuple[str, ...], Columns, int]:
    """Header and columns of the file, and where its rows start."""
    columns = job.draft.columns
    with TextFile(job.path, job.where) as file:
        block, start = begin(file, job.where)
    if job.draft.format == "jsonl":
        return (), columns, start
    header, length = csv_text.header_of(block, job.where)
    check_columns(header, job)
    if any(name not in columns for name in header):
        samples = [_whole_lines(block[length:][:_HEAD_BYTES]), *_samples(job.path)]
        columns = widened(columns, csv_text.tell_columns(samples, header), job.where)
    return header, columns, start + length


def _samples(path: Path) -> Iterator[bytes]:
    """Whole lines from places spread over a file that can be entered anywhere."""
    size = path.stat().st_size
    if path.suffix.lower() in COMPRESSED or size <= _HEAD_BYTES:
        return
    with path.open("rb") as file:
        for i in range(_NUM_SAMPLES):
            file.seek(_HEAD_BYTES + (size - _HEAD_BYTES) * i // _NUM_SAMPLES)
            file.readline(_SAMPLE_BYTES)
            yield _whole_lines(file.read(_SAMPLE_BYTES))


def _whole_lines(data: bytes) -> bytes:
    return data[: data.rfind(b"\n") + 1] or data


def _resume(job: FileJob, header: Sequence[str]) -> int:
    """Where the new rows of a file start that had been read to its end, or to the last piece."""
    last = job.done[-1]
    if job.is_same:
        return last.end
    if tuple(header) != last.header:
        raise changed(job.where)
    for plan in job.done:
        data = _read(job.path, plan, job.where)
    if data.endswith(b"\n"):
        return last.end
    with TextFile(job.path, job.where) as file:
        file.skip_to(last.end)
        after = file.read(2)
    # The last row was taken in without a line break: only one may follow, or the row was torn.
    if after and not after.startswith((b"\n", b"\r\n")):
        raise changed(job.where)
    return last.end + (after.find(b"\n") + 1)
