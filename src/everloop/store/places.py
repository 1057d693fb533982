"""What a place that holds objects can do, and what it says about one."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class ObjectInfo:
    """One object.

    Attributes:
        path: Below the store's url, with forward slashes.
        size_bytes: Its size.
        modified: When it was written, UTC.
    """

    path: str
    size_bytes: int
    modified: datetime


class Place(Protocol):
    """A directory or a bucket; paths were checked before. Absent is FileNotFoundError."""

    url: str

    def local_path(self, path: str) -> Path | None:
        """Where the object lies on disk; None on an object store."""

    def temporary(self, suffix: str) -> Path:
        """Name a new local file that `put_file` takes."""
        ...

    def get(self, path: str) -> bytes:
        """Read an object."""
        ...

    def blocks(self, path: str) -> Iterator[memoryview]:
        """Read an object piece by piece."""
        ...

    def put(self, path: str, data: bytes) -> None:
        """Write an object, whole or not at all."""

    def put_new(self, path: str, data: bytes) -> None:
        """Write an object that must not be there; ConflictError if it is."""

    def put_file(self, path: str, source: Path) -> None:
        """Move a file that `temporary` named into the store."""

    def abandoned(self, before: datetime) -> list[ObjectInfo]:
        """List the temporary files that nobody has written since; `sweep` takes their paths."""
        ...

    def sweep(self, paths: Sequence[str]) -> None:
        """Remove temporary files."""

    def list(self, prefix: str) -> list[ObjectInfo]:
        """List the objects in a folder and below, by path."""
        ...

    def delete(self, paths: Sequence[str]) -> None:
        """Remove objects; absent ones are fine."""


def old_files(directory: Path, prefix: str, before: datetime) -> list[ObjectInfo]:
    """List the files right in a directory that were last written before a time."""
    found = []
    for path in sorted(directory.glob("*")):
        status = path.stat()
        modified = datetime.fromtimestamp(status.st_mtime, tz=UTC)
        if path.is_file() and modified < before:
            found.append(ObjectInfo(f"{prefix}{path.name}", status.st_size, modified))
    return found


def digest_of(blocks: Iterable[memoryview]) -> str:
    """Return the sha256 of bytes that come block by block, in hex."""
    found = hashlib.sha256()
    for block in blocks:
        found.update(block)
    return found.hexdigest()
