"""Text files cut into pieces of whole records, by bytes, without parsing them.

A piece is a range of bytes, so it can be read again exactly. Compressed files are read as a stream,
so a file that unpacks to far more than it weighs costs time and not memory.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
import pyarrow as pa

from everloop.spec.errors import DataError

BLOCK_BYTES = 8 << 20
MAX_RECORD_BYTES = 16 << 20
MAX_PIECE_BYTES = 256 << 20
_MAX_QUOTED_LINES = 1000
COMPRESSED = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
_BOM = b"\xef\xbb\xbf"
_WIDE = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


@dataclass(frozen=True)
class Range:
    """Some whole records of a text file.

    Attributes:
        data: The bytes.
        start: Place of the first byte in the decompressed file.
        is_last: Whether the file ends here.
    """

    data: bytes
    start: int
    is_last: bool

    @property
    def end(self) -> int:
        """Place one past the last byte."""
        return self.start + len(self.data)

    @property
    def digest(self) -> str:
        """sha256 of the bytes, in hex."""
        return hashlib.sha256(self.data).hexdigest()


class TextFile:
    """A text file, compressed or not, read from front to back.

    Args:
        path: Of the file.
        where: Names the file in messages.
    """

    def __init__(self, path: Path, where: str) -> None:
        self._where = where
        codec = COMPRESSED.get(path.suffix.lower())
        self._is_plain = codec is None
        try:
            self._stream: BinaryIO = (
                pa.CompressedInputStream(str(path), codec) if codec else path.open("rb")
            )
        except OSError as error:
            raise DataError(
                f"{where}: cannot be opened ({error}); check that it can be read"
            ) from error
        self._place = 0

    def read(self, size: int) -> bytes:
        """Read up to so many bytes; fewer only at the end of the file.

        Raises:
            DataError: If the file cannot be decompressed or read.
        """
        parts: list[bytes] = []
        left = size
        try:
            while left and (part := self._stream.read(left)):
                parts.append(part)
                left -= len(part)
        except (OSError, EOFError) as error:
            raise DataError(
                f"{self._where}: cannot be read after byte {self._place} ({error}); the "
                f"file is cut short or damaged; write it again"
            ) from error
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        self._place += len(data)
        return data

    def skip_to(self, place: int) -> None:
        """Go forward to a place."""
        if self._is_plain:
            self._stream.seek(place)
            self._place = place
        while self._place < place and self.read(min(BLOCK_BYTES, place - self._place)):
            pass

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()


def begin(file: TextFile, where: str) -> tuple[bytes, int]:
    """Read the first block of a file and check that it is UTF-8 text.

    Returns:
        The block without a byte order mark, and the place it starts at.

    Raises:
        DataError: If it is another encoding, or no text.
    """
    block = file.read(BLOCK_BYTES)
    start = len(_BOM) if block.startswith(_BOM) else 0
    wide = _WIDE.get(block[:2])
    if wide:
        raise DataError(f"{where}: found {wide}, expected UTF-8; save it as UTF-8")
    place = block[: 1 << 16].find(b"\0")
    if place >= 0:
        raise DataError(
            f"{where}: found a zero byte at byte {place}, expected UTF-8 text; this is "
            f"another kind of file, or another encoding"
        )
    return block[start:], start


def ranges(
    file: TextFile, start: int, *, num_rows: int, quoted: bool, where: str
) -> Iterator[Range]:
    """Cut the rest of a file into ranges of about so many records.

    Args:
        file: Anywhere before the start.
        start: Byte to start at; the start of a record.
        num_rows: Lines of a range. A range that would pass 256 MiB has fewer.
        quoted: Whether a line break may lie between double quotes.
        where: Names the file in messages.

    Raises:
        DataError: If a single line is over 16 MiB.
    """
    file.skip_to(start)
    rest, is_end = b"", False
    while not is_end or rest:
        data, is_end = _fill(file, rest, num_rows, is_end=is_end)
        if not data:
            return
        cut = _cut(data, num_rows, quoted=quoted, is_end=is_end)
        if not cut:
            raise DataError(
                f"{where}: found a line of over {MAX_RECORD_BYTES >> 20} MiB at byte {start}, "
                f"expected shorter ones; mend the file or take the line out"
            )
        rest, data = data[cut:], data[:cut]
        piece = Range(data, start, is_last=is_end and not rest)
        del data  # so that a piece is held once, by whoever works on it
        start = piece.end
        yield piece


def _fill(file: TextFile, rest: bytes, num_rows: int, *, is_end: bool) -> tuple[bytes, bool]:
    parts, size, lines = [rest], len(rest), rest.count(b"\n")
    open_bytes = _after_last_break(rest)
    while not is_end and lines <= num_rows and size < MAX_PIECE_BYTES:
        if open_bytes > MAX_RECORD_BYTES:
            break
        part = file.read(BLOCK_BYTES)
        is_end = len(part) < BLOCK_BYTES
        parts.append(part)
        size += len(part)
        lines += part.count(b"\n")
        after = _after_last_break(part)
        open_bytes = after if after < len(part) else open_bytes + len(part)
    return b"".join(parts), is_end


def _after_last_break(data: bytes) -> int:
    return len(data) - (data.rfind(b"\n") + 1)


def _cut(data: bytes, num_rows: int, *, quoted: bool, is_end: bool) -> int:
    breaks = _line_ends(data, num_rows)
    if breaks.size <= num_rows and is_end and _after_last_break(data) <= MAX_RECORD_BYTES:
        return len(data)
    if not breaks.size:
        return 0
    first = min(num_rows, breaks.size) - 1
    if not quoted or data.count(b'"', 0, int(breaks[first])) % 2 == 0:
        return int(breaks[first])
    return _cut_between_quotes(data, breaks, first)


def _cut_between_quotes(
    data: bytes, breaks: "np.ndarray[tuple[int], np.dtype[np.int64]]", at: int
) -> int:
    # The cut would fall inside quotes, so the next line break outside is taken, or the one before.
    # A quote that no other closes within a thousand lines is a stray one: the piece is cut as it
    # is, and only that line will be malformed.
    for i in range(at + 1, min(at + _MAX_QUOTED_LINES, breaks.size)):
        if data.count(b'"', int(breaks[i - 1]), int(breaks[i])) % 2:
            return int(breaks[i])
    for i in range(at, max(at - _MAX_QUOTED_LINES, 0), -1):
        if data.count(b'"', int(breaks[i - 1]), int(breaks[i])) % 2:
            return int(breaks[i - 1])
    return int(breaks[at])


def _line_ends(data: bytes, num_rows: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """Places one past the line breaks, from about `num_rows` on and some before."""
    found: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
    view = np.frombuffer(data, np.uint8)
    seen = 0
    for at in range(0, len(data), BLOCK_BYTES):
        found.append(np.flatnonzero(view[at : at + BLOCK_BYTES] == ord("\n")) + at + 1)
        seen += found[-1].size
        if seen > num_rows + _MAX_QUOTED_LINES:
            break
    return np.concatenate(found) if found else np.empty(0, np.int64)
