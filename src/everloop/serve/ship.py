"""The shipper: brings the spools of all replicas to tables, each line exactly once.

A piece of whole lines is one commit, which also holds the byte offset behind its last line; so a
shipper that is killed at any moment goes on where the table says. It is the only module of
`everloop.serve` that needs polars and deltalake.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import msgspec
import polars as pl

from everloop.serve.frames import label_frame, layout_of, prediction_frame
from everloop.serve.spool import LabelLine, PredictionLine, is_dead, segments
from everloop.spec.errors import DataError, UnavailableError
from everloop.store.table import Table

PIECE_BYTES = 64 << 20
PIECE_ROWS = 200_000

Line = TypeVar("Line", PredictionLine, LabelLine)


@dataclass(kw_only=True)
class ShipReport:
    """What one round shipped.

    Attributes:
        num_predictions: Rows.
        num_labels: Labels.
        num_pieces: Commits.
        torn: Last lines that a killed replica left unfinished, as ``replica@offset``; nobody was
            answered for them, and they are removed.
        broken: Whole lines that could not be read, as ``replica@offset``; they are moved to
            ``<spool>/broken``.
        beside: New columns of the tables, for values of another type than those that came before
            under the same name.
    """

    num_predictions: int = 0
    num_labels: int = 0
    num_pieces: int = 0
    torn: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        text = f"shipped {self.num_predictions} predictions and {self.num_labels} labels"
        if odd := len(self.torn) + len(self.broken):
            text += f"; {odd} unfinished or broken lines"
        if self.beside:
            text += f"; columns of another type than before lie in {', '.join(self.beside)}"
        return text


@dataclass(frozen=True)
class _Stream(Generic[Line]):
    """One stream's way from lines to rows."""

    decoder: msgspec.json.Decoder[Line]
    count: Callable[[Line], int]
    layout: Callable[[Line], object]
    frame: Callable[[list[Line], str, pl.Schema], pl.DataFrame]


@dataclass
class _Piece(Generic[Line]):
    lines: list[Line] = field(default_factory=list)
    layout: object = None
    num_rows: int = 0
    end: int = 0
    is_last: bool = True


_PREDICTIONS = _Stream(
    msgspec.json.Decoder(PredictionLine), lambda line: line.rows, layout_of, prediction_frame
)
_LABELS = _Stream(
    msgspec.json.Decoder(LabelLine),
    lambda line: len(line.labels),
    lambda _: None,
    lambda lines, *_: label_frame(lines),
)


def ship(
    spool: Path,
    predictions: Table,
    labels: Table,
    *,
    piece_bytes: int = PIECE_BYTES,
    piece_rows: int = PIECE_ROWS,
) -> ShipReport:
    """Commit every whole line that lies in the spool, and remove what is shipped.

    Args:
        spool: The directory that replicas write to.
        predictions: The table ``predictions``.
        labels: The table ``labels``.
        piece_bytes: Of lines in one commit, at most, unless one line alone is longer.
        piece_rows: In one commit, at most, unless one line alone has more.

    Raises:
        UnavailableError: If another shipper works on this spool, or the store does not answer.
    """
    report = ShipReport()
    if not spool.is_dir():
        return report
    with _alone(spool):
        for directory in _replicas(spool / "labels"):
            one = _Shipper(directory, labels, _LABELS, report, (piece_bytes, piece_rows))
            report.num_labels += one.run()
        for directory in _replicas(spool / "predictions"):
            two = _Shipper(directory, predictions, _PREDICTIONS, report, (piece_bytes, piece_rows))
            report.num_predictions += two.run()
    return report


def follow(
    once: Callable[[], ShipReport],
    *,
    wait: Callable[[float], bool],
    interval_s: float = 1.0,
    tell: Callable[[str], None] = lambda _: None,
) -> None:
    """Ship again and again; a store that is away is tried again later.

    Args:
        once: Ships one round.
        wait: Waits so many seconds; returns True when it is time to end.
        interval_s: Between rounds.
        tell: Gets a sentence for each round that shipped something or failed.
    """
    while True:
        try:
            report = once()
        except UnavailableError as error:
            tell(f"nothing shipped: {error}")
        else:
            if report.num_pieces or report.torn or report.broken:
                tell(str(report))
        if wait(interval_s):
            return


class _Shipper(Generic[Line]):
    """Ships one stream of one replica."""

    def __init__(
        self,
        directory: Path,
        table: Table,
        stream: _Stream[Line],
        report: ShipReport,
        limits: tuple[int, int],
    ) -> None:
        self._directory = directory
        self._table = table
        self._stream: _Stream[Line] = stream
        self._report = report
        self._piece_bytes, self._piece_rows = limits
        self._app = f"spool/{directory.name}"
        # Asked before the segments are listed: what a dead replica wrote is then all there.
        self._is_dead = is_dead(directory)
        self._segments = [(start, path, path.stat().st_size) for start, path in segments(directory)]

    def run(self) -> int:
        """Ship what is there; returns how many rows."""
        offset = max(self._table.offset(self._app), 0)
        num_rows = 0
        while True:
            piece = self._read(offset)
            if piece.end > offset:
                self._commit(piece)
                num_rows += piece.num_rows
                self._report.num_pieces += 1
            offset = max(offset, piece.end)
            if piece.is_last:
                break
        self._remove(offset)
        return num_rows

    def _commit(self, piece: _Piece[Line]) -> None:
        known = self._table.schema()
        frame = self._stream.frame(piece.lines, self._directory.name, known)
        try:
            self._table.append(frame, app=self._app, offset=piece.end)
        except DataError:
            if self._table.schema() == known:
                raise
            self._commit(piece)  # another shipper has brought a column of another type meanwhile
            return
        if known:
            self._report.beside += [n for n in frame.columns if ":" in n and n not in known]

    def _read(self, offset: int) -> _Piece[Line]:
        piece: _Piece[Line] = _Piece(end=offset)
        room = self._piece_bytes
        for start, path, size in self._segments:
            if start + size <= piece.end:
                continue
            at = max(piece.end, start)
            data, is_all = _whole_lines(path, at - start, size, room)
            room -= len(data)
            # Whatever is left of this segment comes first in the next piece.
            if not self._add(piece, data, at) or not is_all or room <= 0:
                piece.is_last = False
                break
        return piece

    def _add(self, piece: _Piece[Line], data: bytes, at: int) -> bool:
        for text in data[:-1].split(b"\n") if data else []:
            if piece.num_rows >= self._piece_rows:
                return False
            try:
                line = self._stream.decoder.decode(text)
            except msgspec.DecodeError:
                self._set_aside(at, text)
            else:
                layout = self._stream.layout(line)
                if piece.lines and layout != piece.layout:
                    return False
                piece.layout = layout
                piece.lines.append(line)
                piece.num_rows += self._stream.count(line)
            at += len(text) + 1
            piece.end = at
        return True

    def _set_aside(self, at: int, text: bytes) -> None:
        name = f"{self._directory.parent.name}-{self._directory.name}-{at}.jsonl"
        folder = self._directory.parent.parent / "broken"
        folder.mkdir(mode=0o700, exist_ok=True)
        file = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(file, "wb") as out:
            out.write(text)
        self._report.broken.append(f"{self._directory.name}@{at}")

    def _remove(self, offset: int) -> None:
        for i, (start, path, size) in enumerate(self._segments):
            is_live = i == len(self._segments) - 1 and not self._is_dead
            if is_live:
                break
            if start + size > offset and start + size > 0:
                self._note_torn(start, size, offset)
            path.unlink(missing_ok=True)
        if self._is_dead:
            with suppress(OSError):  # somebody else's file is left alone
                self._directory.rmdir()

    def _note_torn(self, start: int, size: int, offset: int) -> None:
        self._report.torn.append(f"{self._directory.name}@{max(start, min(offset, start + size))}")


def _whole_lines(path: Path, skip: int, size: int, room: int) -> tuple[bytes, bool]:
    """Read whole lines of a segment: about `room` bytes, and at least one line if there is one.

    Returns:
        The lines, and whether they are all that the segment has.
    """
    with path.open("rb") as file:
        file.seek(skip)
        left = size - skip
        data = file.read(min(left, max(room, 1)))
        if b"\n" not in data:
            data += file.readline(left - len(data)) if left > len(data) else b""
    return data[: data.rfind(b"\n") + 1], len(data) == left


def _replicas(stream: Path) -> list[Path]:
    if not stream.is_dir():
        return []
    return sorted(p for p in stream.iterdir() if p.is_dir() and not p.name.startswith("."))


@contextmanager
def _alone(spool: Path) -> Iterator[None]:
    lock = os.open(spool / ".shipper", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise UnavailableError(
            f"{spool}: another shipper works on this spool; let it, or stop it first"
        ) from error
    finally:
        os.close(lock)
