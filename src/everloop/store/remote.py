"""Objects on S3, Google Cloud Storage or Azure, through obstore."""

import contextlib
import getpass
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import obstore
from obstore import exceptions, store

from everloop.spec.errors import ConflictError, UnavailableError
from everloop.store import durable
from everloop.store.places import ObjectInfo, old_files

_RETRY: Any = {"max_retries": 5, "retry_timeout": timedelta(seconds=20)}
_CLIENT = {"timeout": "60s", "connect_timeout": "5s"}
_CLIENT_KEYS = (
    "allow_http",
    "allow_invalid_certificates",
    "timeout",
    "connect_timeout",
    "proxy_url",
)
_CLOUD = re.compile(r"^(aws|google|azure)_")


class RemotePlace:
    """A bucket, or a folder in one.

    Args:
        url: ``s3://bucket/folder`` and the like.
        options: Revealed settings by obstore's names, such as ``aws_endpoint``.
        hidden: Values that no message may show.
    """

    def __init__(self, url: str, options: Mapping[str, str], hidden: Sequence[str]) -> None:
        self.url = url
        self._hidden = hidden
        with self._explained(""):
            settings, client = _split(options)
            self._store = store.from_url(
                url, config=settings, client_options=client, retry_config=_RETRY
            )

    def local_path(self, path: str) -> Path | None:  # noqa: ARG002 - the protocol's signature
        """Return None: nothing lies on disk."""
        return None

    def temporary(self, suffix: str) -> Path:
        """Name a new file in the system's folder for temporary files."""
        folder = _temporary_folder()
        with durable.explained(folder):
            return durable.temporary_name(folder, suffix)

    def get(self, path: str) -> bytes:
        """Read an object; FileNotFoundError if absent."""
        with self._explained(path):
            return bytes(obstore.get(self._store, path).bytes())

    def blocks(self, path: str) -> Iterator[memoryview]:
        """Read an object piece by piece; FileNotFoundError if absent."""
        with self._explained(path):
            for block in obstore.get(self._store, path).stream(min_chunk_size=8 << 20):
                yield memoryview(block)

    def put(self, path: str, data: bytes) -> None:
        """Write an object in place of any."""
        with self._explained(path):
            obstore.put(self._store, path, data, mode="overwrite")

    def put_new(self, path: str, data: bytes) -> None:
        """Write an object that must not be there yet."""
        try:
            with self._explained(path):
                obstore.put(self._store, path, data, mode="create")
        except ConflictError:
            # The client repeats a request whose answer was lost; then the object is our own.
            if self.get(path) != data:
                raise

    def put_file(self, path: str, source: Path) -> None:
        """Upload a file, then remove it."""
        try:
            with self._explained(path):
                obstore.put(self._store, path, source)
        finally:
            source.unlink(missing_ok=True)

    def abandoned(self, before: datetime) -> list[ObjectInfo]:
        """List this machine's old temporary files; a bucket's own rules drop unfinished uploads."""
        return old_files(_temporary_folder(), "", before)

    def sweep(self, paths: Sequence[str]) -> None:
        """Remove temporary files."""
        for path in paths:
            (_temporary_folder() / path).unlink(missing_ok=True)

    def list(self, prefix: str) -> list[ObjectInfo]:
        """List the objects in a folder and below."""
        with self._explained(prefix):
            found = [
                ObjectInfo(meta["path"], meta["size"], meta["last_modified"])
                for piece in obstore.list(self._store, prefix or None)
                for meta in piece
            ]
        return sorted(found, key=lambda info: info.path)

    def delete(self, paths: Sequence[str]) -> None:
        """Remove objects; absent ones are fine."""
        with self._explained(", ".join(paths[:1])), contextlib.suppress(FileNotFoundError):
            obstore.delete(self._store, list(paths))

    @contextlib.contextmanager
    def _explained(self, path: str) -> Iterator[None]:
        where = f"{self.url}/{path}"
        try:
            yield
        except (exceptions.AlreadyExistsError, exceptions.PreconditionError) as error:
            message = f"{where}: another writer was first; read and retry"
            raise ConflictError(message) from error
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
            message = f"{where}: access was refused; check the credentials in store.options"
            raise UnavailableError(message) from error
        except exceptions.BaseError as error:
            raise UnavailableError(
                f"{where}: {self._shown(error)}; check store.url, store.options and the network"
            ) from None  # the original may hold what `_shown` takes out

    def _shown(self, error: Exception) -> str:
        text = " ".join(str(error).split("\n\n")[0].split())[:500]
        for value in self._hidden:
            text = text.replace(value, "***")
        return text


def _temporary_folder() -> Path:
    return Path(tempfile.gettempdir()) / f"everloop-{getpass.getuser()}"


def _split(options: Mapping[str, str]) -> tuple[Any, Any]:
    # deltalake takes both sorts in one; obstore wants them apart.
    settings, client = {}, dict(_CLIENT)
    for key, value in options.items():
        bare = _CLOUD.sub("", key.lower())
        if bare in _CLIENT_KEYS:
            client[bare] = value
        else:
            settings[key.lower()] = value
    return settings, client
