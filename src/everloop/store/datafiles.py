"""A table's Parquet files: written once, named by their digest, verified before first use."""

import contextlib
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl

from everloop.spec.errors import CorruptError, DataError
from everloop.store import durable
from everloop.store.delta import DataFile, delta_options, explained, now_ms, table_url
from everloop.store.objects import Objects
from everloop.store.places import digest_of

ROW_GROUP_ROWS = 250_000


class DataFiles:
    """The data files below a table's folder; remembers which ones were verified."""

    def __init__(self, objects: Objects, folder: str) -> None:
        self._objects = objects
        self._folder = folder
        self._verified: set[str] = set()

    def write(self, rows: pl.LazyFrame, order: int | None = None) -> DataFile | None:
        """Write rows to a file of their own; None if there are none.

        Raises:
            DataError: If the rows cannot be computed or a value does not fit its column.
            UnavailableError: If the disk is full or the store does not answer.
        """
        path = self._objects.temporary(".parquet")
        try:
            num_rows = self._sink(rows, path)
            if num_rows == 0:
                return None
            digest = digest_of(durable.blocks(path))
            size_bytes = path.stat().st_size
            name = f"part-{digest}.parquet"
            self._objects.put_file(f"{self._folder}/{name}", path)
        finally:
            path.unlink(missing_ok=True)
        self._verified.add(name)
        return DataFile(name, size_bytes, num_rows, now_ms() if order is None else order)

    def _sink(self, rows: pl.LazyFrame, path: Path) -> int:
        # Equal rows make equal bytes; the token keeps one table from listing one name twice.
        token = {"everloop": secrets.token_hex(16)}
        with explained(str(path)), _computed(self._folder):
            rows.sink_parquet(
                path, compression="lz4", row_group_size=ROW_GROUP_ROWS, metadata=token
            )
            path.chmod(0o600)
            return int(pl.scan_parquet(path).select(pl.len()).collect().item())

    def verify(self, files: Iterable[DataFile]) -> None:
        """Check each file's bytes against its name, once in this process.

        Raises:
            CorruptError: If a file is missing or was changed.
        """
        for file in files:
            if file.name not in self._verified:
                self._verify(file)
                self._verified.add(file.name)

    def _verify(self, file: DataFile) -> None:
        path = f"{self._folder}/{file.name}"
        try:
            found = self._objects.digest(path)
        except KeyError:
            raise CorruptError(f"{path}: missing; restore it from a copy") from None
        if found != file.digest:
            raise CorruptError(
                f"{path}: its sha256 is {found[:12]}..., expected {file.digest[:12]}...; it was "
                "changed after it was written: restore it from a copy, or ingest again"
            )

    def scan(self, files: list[DataFile], schema: pl.Schema) -> pl.LazyFrame:
        """Read verified files; columns that a file lacks are null.

        Raises:
            CorruptError: If a file is missing or was changed.
        """
        if not files:
            return pl.LazyFrame(schema=schema)
        self.verify(files)
        url = table_url(self._objects, self._folder)
        return pl.scan_parquet(
            [f"{url}/{file.name}" for file in files],
            schema=schema,
            missing_columns="insert",
            hive_partitioning=False,
            glob=False,
            storage_options=delta_options(self._objects.options) or None,
        )

    def discard(self, file: DataFile | None) -> None:
        """Remove a file that no commit refers to."""
        if file is not None:
            self._objects.delete([f"{self._folder}/{file.name}"])
            self._verified.discard(file.name)


@contextlib.contextmanager
def _computed(where: str) -> Iterator[None]:
    # A full disk reaches us as a PolarsError too; `explained` tells that one.
    try:
        yield
    except pl.exceptions.PolarsError as error:
        if "os error" in str(error):
            raise
        text = " ".join(str(error).split("\n\n")[0].split())
        raise DataError(f"{where}: the rows cannot be written: {text}") from error
