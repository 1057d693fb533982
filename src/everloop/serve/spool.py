"""The spool: what was predicted and what turned out true, on local disk before it is answered for.

A stream is a directory `<spool>/<stream>/<replica id>` of segments. A segment is named after the
stream's byte offset at its start, and holds whole lines of JSON; a line is written in one go. The
directory stays locked while its replica lives, so that the shipper knows the dead. Nothing is
synced to disk line by line: a killed process loses nothing, a power cut may lose the last seconds.
"""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec

from everloop.spec.errors import UnavailableError

STREAMS = ("predictions", "labels")
SEGMENT_BYTES = 16 << 20
_MIN_SEGMENT_BYTES = 16 << 10
_ENDING = ".jsonl"

Failure = Literal["full", "disk"]


class PredictionLine(msgspec.Struct, gc=False):
    """One request as the spool holds it, column by column.

    Attributes:
        id: Of the request.
        at: When it was answered, microseconds since 1970.
        version: That answered.
        rows: How many.
        predictions: A number, or a list of them, for each row.
        clock: The column that says when a row happened, if the model has one.
        numbers: Input columns as they were sent.
        categories: Input columns as they were sent.
        times: Input columns as they were sent.
        texts: Logged columns, as text.
        moments: Logged times, microseconds since 1970.
    """

    id: str
    at: int
    version: int
    rows: int
    predictions: list[Any]
    clock: str | None
    numbers: dict[str, list[Any]]
    categories: dict[str, list[Any]]
    times: dict[str, list[Any]]
    texts: dict[str, list[Any]]
    moments: dict[str, list[Any]]


class LabelLine(msgspec.Struct, gc=False):
    """The labels of one request: pairs of prediction id and text."""

    at: int
    labels: list[tuple[str, str]]


class Journal:
    """One stream of one replica, appended to by that replica alone."""

    def __init__(self, directory: Path, segment_bytes: int) -> None:
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._lock = _make_locked(directory)
        self._file = -1
        self._size = 0
        self.offset = 0

    def append(self, data: bytes) -> bool:
        """Write whole lines; False if the disk took none of it, in which case nothing is left."""
        try:
            if self._file < 0:
                self._open_segment()
            if os.write(self._file, data) < len(data):
                self._take_back()
                return False
        except OSError:
            self._take_back()
            return False
        self._size += len(data)
        self.offset += len(data)
        if self._size >= self._segment_bytes:
            self._close_segment()
        return True

    def _open_segment(self) -> None:
        path = self._directory / segment_name(self.offset)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(path, flags, 0o600)
        self._size = 0

    def _take_back(self) -> None:
        # Half a line in the middle would spoil the next one. Shrinking needs no room; should it
        # fail nevertheless, a new segment starts, and the shipper reports the torn end.
        if self._file < 0:
            return
        try:
            os.ftruncate(self._file, self._size)
        except OSError:
            self.offset += max(os.fstat(self._file).st_size - self._size, 0)
            self._close_segment()

    def _close_segment(self) -> None:
        os.close(self._file)
        self._file = -1

    def close(self) -> None:
        """Close the segment and let go of the directory."""
        if self._file >= 0:
            self._close_segment()
        os.close(self._lock)


class Spool:
    """What one replica writes: predictions and labels, within a bound that all replicas share."""

    def __init__(
        self, root: Path, replica: str, *, max_bytes: int, now_us: Callable[[], int]
    ) -> None:
        """Make the replica's directories.

        Raises:
            UnavailableError: If the spool cannot be written.
        """
        self._root = root
        self._max_bytes = max_bytes
        self._now_us = now_us
        segment_bytes = min(SEGMENT_BYTES, max(_MIN_SEGMENT_BYTES, max_bytes // 8))
        try:
            journals = [Journal(root / name / replica, segment_bytes) for name in STREAMS]
        except OSError as error:
            raise UnavailableError(
                f"serve.spool: cannot write {root}: {error.strerror}; free or set another place"
            ) from error
        self._predictions, self._labels = journals
        self._encode = msgspec.json.Encoder().encode
        self.size_bytes = 0
        self.measure()

    def measure(self) -> None:
        """Look at how much lies in the spool; the shipper takes away what it has shipped."""
        self.size_bytes = sum(
            _size_of(segment)
            for name in STREAMS
            for segment in (self._root / name).glob(f"*/*{_ENDING}")
        )

    def now_us(self) -> int:
        """Return the time as the lines hold it."""
        return self._now_us()

    def line(self, record: PredictionLine | LabelLine) -> bytes:
        """Encode one line."""
        return self._encode(record) + b"\n"

    def add_predictions(self, lines: list[bytes]) -> Failure | None:
        """Write the lines of one batch in one go; returns why not, if not."""
        return self._add(self._predictions, b"".join(lines))

    def add_labels(self, labels: list[tuple[str, str]]) -> Failure | None:
        """Write the labels of one request; returns why not, if not."""
        return self._add(self._labels, self.line(LabelLine(self._now_us(), labels)))

    def _add(self, journal: Journal, data: bytes) -> Failure | None:
        if self.size_bytes + len(data) > self._max_bytes:
            return "full"
        if not journal.append(data):
            return "disk"
        self.size_bytes += len(data)
        return None

    def close(self) -> None:
        """Let go of both streams."""
        self._predictions.close()
        self._labels.close()


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0  # the shipper was here meanwhile


def segment_name(offset: int) -> str:
    """Name the segment that starts at this byte of its stream.

    >>> segment_name(42)
    '00000000000000000042.jsonl'
    """
    return f"{offset:020d}{_ENDING}"


def segments(directory: Path) -> list[tuple[int, Path]]:
    """List a stream's segments as start offset and path, in order."""
    return sorted((int(p.stem), p) for p in directory.glob(f"*{_ENDING}") if p.stem.isdigit())


def _make_locked(directory: Path) -> int:
    # It appears under its name only once it is locked, so that no shipper takes it for dead.
    hidden = directory.with_name(f".{directory.name}")
    hidden.mkdir(parents=True, mode=0o700)
    lock = os.open(hidden, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    hidden.rename(directory)
    return lock


def is_dead(directory: Path) -> bool:
    """Whether the replica that wrote this directory has ended."""
    try:
        lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True
