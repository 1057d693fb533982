"""Objects by path, in a directory or a bucket: each written whole or not at all.

Light enough for a replica: obstore is imported only for a bucket.
"""

import json
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from everloop.spec.errors import ConflictError, CorruptError, DataError, Problem, ProjectError
from everloop.spec.project import StoreSpec
from everloop.spec.secrets import Secret
from everloop.store.local import LocalPlace
from everloop.store.places import ObjectInfo, Place, digest_of

__all__ = ["STORE_FORMAT", "ObjectInfo", "Objects", "check_path"]

STORE_FORMAT = 1
_MARK = "store.json"
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}")
_MAX_PATH = 900
_REMOTE = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "adl")


def check_path(path: str) -> str:
    """Return the path if it names a place below the store and nothing else.

    Raises:
        ValueError: If a segment is empty, hidden, or holds a character other than letters, digits,
            dot, underscore and hyphen.

    >>> check_path("bundles/ab12/model.onnx")
    'bundles/ab12/model.onnx'
    """
    segments = path.split("/")
    if len(path) > _MAX_PATH or not all(_SEGMENT.fullmatch(segment) for segment in segments):
        raise ValueError(
            f"path {path[:200]!r}: expected names of letters, digits, '.', '_' and '-', "
            f"joined by '/', none of them starting with a dot"
        )
    return path


class Objects:
    """The objects of one store; every path is relative to its url.

    Attributes:
        url: Absolute: a file path, or ``s3://...``.
        options: The store's settings with secrets revealed; never print them.
    """

    def __init__(self, place: Place, options: dict[str, str] | None = None) -> None:
        self._place = place
        self.url = place.url
        self.options = options or {}
        self._is_marked = self._check_format()

    @classmethod
    def open(cls, spec: StoreSpec, root: Path) -> "Objects":
        """Open a store; a directory is created at the first write only.

        Args:
            spec: The project's `[store]`.
            root: The directory of the project file; a relative url starts there.

        Raises:
            ProjectError: If the url's scheme is not known.
            DataError: If a newer everloop wrote the store, or a secret is missing.
            UnavailableError: If the store cannot be reached or read.
        """
        scheme, separator, rest = spec.url.partition("://")
        if not separator:
            return cls(LocalPlace((root / Path(spec.url).expanduser()).resolve()))
        if scheme == "file":
            return cls(LocalPlace(Path(rest).resolve()))
        if scheme not in _REMOTE:
            text = f"found {spec.url!r}, expected a directory, s3://, gs:// or az://"
            problem = Problem(where="store.url", line=0, text=text)
            raise ProjectError(str(root), [problem])
        return cls._open_remote(spec)

    @classmethod
    def _open_remote(cls, spec: StoreSpec) -> "Objects":
        from everloop.store.remote import RemotePlace

        options = _revealed(spec)
        hidden = [options[k] for k, v in spec.options.items() if isinstance(v, Secret)]
        return cls(RemotePlace(spec.url.rstrip("/"), options, hidden), options)

    def get(self, path: str) -> bytes:
        """Read an object.

        Raises:
            KeyError: If there is none.
            UnavailableError: If the store does not answer.
        """
        try:
            return self._place.get(check_path(path))
        except FileNotFoundError:
            raise KeyError(path) from None

    def digest(self, path: str) -> str:
        """Return the sha256 of an object's bytes, in hex, without holding them all.

        Raises:
            KeyError: If there is none.
        """
        try:
            return digest_of(self._place.blocks(check_path(path)))
        except FileNotFoundError:
            raise KeyError(path) from None

    def put(self, path: str, data: bytes) -> None:
        """Write an object in place of any; whole or not at all.

        Raises:
            UnavailableError: If the store is full, not writable, or does not answer.
        """
        self.mark()
        self._place.put(check_path(path), data)

    def put_new(self, path: str, data: bytes) -> None:
        """Write an object that must not be there yet.

        Raises:
            ConflictError: If it is there.
            UnavailableError: As for `put`.
        """
        self.mark()
        self._place.put_new(check_path(path), data)

    def put_file(self, path: str, source: Path) -> None:
        """Move a file that `temporary` named into the store; whole or not at all."""
        self.mark()
        self._place.put_file(check_path(path), source)

    def temporary(self, suffix: str = "") -> Path:
        """Name a new local file for `put_file`; whoever writes it removes it on failure."""
        return self._place.temporary(suffix)

    def abandoned(self, before: datetime) -> list[ObjectInfo]:
        """List the temporary files of writers that were killed before a time."""
        return self._place.abandoned(before)

    def sweep(self, abandoned: Sequence[ObjectInfo]) -> None:
        """Remove temporary files."""
        self._place.sweep([info.path for info in abandoned])

    def list(self, prefix: str = "") -> list[ObjectInfo]:
        """List the objects in a folder and below, by path; empty if there is no such folder."""
        prefix = prefix.strip("/")
        return self._place.list(check_path(prefix) if prefix else "")

    def delete(self, paths: Sequence[str]) -> None:
        """Remove objects; absent ones are fine."""
        if paths:
            self._place.delete([check_path(path) for path in paths])

    def local_path(self, path: str) -> Path | None:
        """Return where an object lies on disk; None on an object store."""
        return self._place.local_path(check_path(path))

    def mark(self) -> None:
        """Write the store's format, once, before anything else is written."""
        if self._is_marked:
            return
        try:
            self._place.put_new(_MARK, json.dumps({"format": STORE_FORMAT}).encode())
        except ConflictError:
            self._check_format()
        self._is_marked = True

    def _check_format(self) -> bool:
        try:
            data = self._place.get(_MARK)
        except FileNotFoundError:
            return False
        found = _parse_format(data, f"{self.url}/{_MARK}")
        if found > STORE_FORMAT:
            raise DataError(
                f"{self.url}: the store has format {found}, this everloop knows up to "
                f"{STORE_FORMAT}; install the everloop that wrote it, or a newer one"
            )
        return True


def _parse_format(data: bytes, where: str) -> int:
    try:
        found = json.loads(data)["format"]
    except (ValueError, KeyError, TypeError):
        found = None
    if not isinstance(found, int) or found < 1:
        text = f'{where}: expected {{"format": 1}}; restore it from a copy, or write that by hand'
        raise CorruptError(text)
    return found


def _revealed(spec: StoreSpec) -> dict[str, str]:
    options = {k: v.reveal() if isinstance(v, Secret) else v for k, v in spec.options.items()}
    endpoints = [v for k, v in options.items() if k.lower().endswith(("endpoint", "endpoint_url"))]
    if any(endpoint.startswith("http://") for endpoint in endpoints):
        options.setdefault("aws_allow_http", "true")
    return options
