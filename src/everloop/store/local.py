"""Objects as files below a directory."""

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from everloop.spec.errors import ConflictError
from everloop.store import durable
from everloop.store.places import ObjectInfo, old_files

TEMPORARY = ".tmp"
"""Folder of files being written; names in a store never start with a dot."""


class LocalPlace:
    """A directory that holds objects; it is created at the first write.

    Raises:
        UnavailableError: If no directory can be there.
    """

    def __init__(self, root: Path) -> None:
        with durable.explained(root):
            there = next(path for path in (root, *root.parents) if path.exists())
            if not there.is_dir():
                # Whatever is read below a file is merely absent, and the store would seem empty.
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(there))
        self._root = root
        self.url = str(root)

    def local_path(self, path: str) -> Path:
        """Return where an object lies, whether it is there or not."""
        return self._root / path

    def temporary(self, suffix: str) -> Path:
        """Return the name of a new file on the store's own disk, so that it can be moved in."""
        with durable.explained(self._root):
            return durable.temporary_name(self._root / TEMPORARY, suffix)

    def get(self, path: str) -> bytes:
        """Read an object; FileNotFoundError if absent."""
        with durable.explained(self._root / path), _no_directory(path):
            return (self._root / path).read_bytes()

    def blocks(self, path: str) -> Iterator[memoryview]:
        """Read an object piece by piece; FileNotFoundError if absent."""
        with durable.explained(self._root / path), _no_directory(path):
            yield from durable.blocks(self._root / path)

    def put(self, path: str, data: bytes) -> None:
        """Write an object in place of any."""
        with durable.explained(self._root / path):
            temporary = durable.write_temporary(self._root / TEMPORARY, data)
            durable.move_into(temporary, self._root / path)

    def put_new(self, path: str, data: bytes) -> None:
        """Write an object that must not be there yet."""
        target = self._root / path
        try:
            with durable.explained(target):
                durable.link_into(durable.write_temporary(self._root / TEMPORARY, data), target)
        except FileExistsError as error:
            raise ConflictError(f"{target}: another writer was first; read and retry") from error

    def put_file(self, path: str, source: Path) -> None:
        """Move a file that `temporary` named to where it belongs."""
        with durable.explained(self._root / path):
            durable.sync_file(source)
            durable.move_into(source, self._root / path)

    def abandoned(self, before: datetime) -> list[ObjectInfo]:
        """List old temporary files: ours, and those that deltalake's store names with a ``#``."""
        with durable.explained(self._root):
            found = old_files(self._root / TEMPORARY, f"{TEMPORARY}/", before)
            theirs = [info for info in _walk(self._root / "tables", "tables") if "#" in info.path]
            return found + [info for info in theirs if info.modified < before]

    def sweep(self, paths: Sequence[str]) -> None:
        """Remove temporary files."""
        self.delete(paths)

    def list(self, prefix: str) -> list[ObjectInfo]:
        """List the objects in a folder and below."""
        with durable.explained(self._root / prefix):
            return sorted(_walk(self._root / prefix, prefix), key=lambda info: info.path)

    def delete(self, paths: Sequence[str]) -> None:
        """Remove objects; absent ones are fine."""
        for path in paths:
            with durable.explained(self._root / path), contextlib.suppress(FileNotFoundError):
                (self._root / path).unlink()


@contextlib.contextmanager
def _no_directory(path: str) -> Iterator[None]:
    try:
        yield
    except (IsADirectoryError, NotADirectoryError) as error:
        raise FileNotFoundError(path) from error


def _walk(directory: Path, prefix: str) -> Iterator[ObjectInfo]:
    try:
        found = list(os.scandir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in found:
        if entry.name.startswith("."):
            continue
        path = f"{prefix}/{entry.name}" if prefix else entry.name
        if entry.is_dir():
            yield from _walk(directory / entry.name, path)
            continue
        with contextlib.suppress(FileNotFoundError):
            status = entry.stat()
            modified = datetime.fromtimestamp(status.st_mtime, tz=UTC)
            yield ObjectInfo(path, status.st_size, modified)
