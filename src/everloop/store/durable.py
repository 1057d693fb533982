"""Local files that survive a kill and a power cut: the only place that writes the local disk.

A file appears under its name whole or not at all: its bytes go to a temporary file, are synced,
and the name is moved or linked onto them; then the directory is synced too.
"""

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from everloop.spec.errors import UnavailableError

BLOCK_BYTES = 1 << 20
_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the disk's refusals into an error that says what to do.

    Raises:
        UnavailableError: If the disk is full, the place is not writable, or it failed.
    """
    try:
        yield
    except (FileNotFoundError, FileExistsError):
        raise
    except OSError as error:
        raise UnavailableError(_explain(path, error)) from error


def _explain(path: Path, error: OSError) -> str:
    if error.errno in _FULL:
        return f"{path}: the disk is full; free some space or move store.url, then run again"
    if error.errno in _FORBIDDEN:
        return f"{path}: {error.strerror}; give this user the right to use it, or move store.url"
    return f"{path}: {error.strerror or error}; check the disk that store.url lies on"


def make_directories(path: Path) -> None:
    """Create a directory and its parents for this user alone, so that they survive a power cut."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for directory in reversed(missing):
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700)
        sync_directory(directory.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    if os.name == "nt":  # Windows cannot open a directory; its file system journals names.
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_file(path: Path) -> None:
    """Make a file's bytes durable."""
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def temporary_name(directory: Path, suffix: str = "") -> Path:
    """Return the name of a file that does not exist yet, in a directory that does."""
    make_directories(directory)
    return directory / f"{os.getpid()}-{secrets.token_hex(8)}{suffix}"


def write_temporary(directory: Path, data: bytes) -> Path:
    """Write a new file and sync its bytes; its name still has to be moved to where it belongs."""
    path = temporary_name(directory)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def move_into(source: Path, target: Path) -> None:
    """Give a synced file its name, in place of whatever had it."""
    make_directories(target.parent)
    source.replace(target)
    sync_directory(target.parent)


def link_into(source: Path, target: Path) -> None:
    """Give a synced file its name.

    Raises:
        FileExistsError: If something has that name.
    """
    make_directories(target.parent)
    try:
        os.link(source, target)
    finally:
        source.unlink()
    sync_directory(target.parent)


def blocks(path: Path) -> Iterator[memoryview]:
    """Read a file block by block into one buffer; each block is valid until the next one."""
    buffer = bytearray(BLOCK_BYTES)
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as file:
        while size := file.readinto(buffer):
            yield view[:size]
