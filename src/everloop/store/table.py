"""A Delta table that takes each piece of a source exactly once."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl
from deltalake import DeltaTable
from deltalake.transaction import create_table_with_add_actions
from pydantic import JsonValue

from everloop.spec.errors import ConflictError, DataError
from everloop.store import delta
from everloop.store.compaction import compact
from everloop.store.datafiles import DataFiles
from everloop.store.delta import DataFile
from everloop.store.objects import Objects, check_path
from everloop.store.schemas import cast_to, plan_schema
from everloop.store.seals import Commit, Seals

_ATTEMPTS = 20
_CONFIGURATION = {"delta.enableExpiredLogCleanup": "false"}  # gc knows which versions are needed


@dataclass(frozen=True)
class _Piece:
    """Rows on their way into a table."""

    rows: pl.LazyFrame
    found: pl.Schema
    app: str | None
    offset: int
    metadata: Mapping[str, JsonValue] | None


class Table:
    """One table; a process keeps one object for it, which holds the newest state it has seen.

    Attributes:
        name: Such as ``raw/main``; the table lies at ``tables/<name>``.
        folder: Where it lies, below the store's url.
    """

    def __init__(self, objects: Objects, name: str) -> None:
        self.name = name
        self.folder = check_path(f"tables/{name}")
        self._objects = objects
        self._files = DataFiles(objects, self.folder)
        self._seals = Seals(objects, self.folder)
        self._held: DeltaTable | None = None
        self._opened = self._checked = -1
        self._lock = threading.RLock()

    def version(self) -> int:
        """Return the newest version; -1 if the table does not exist."""
        with self._lock:
            return _version(self._refresh())

    def schema(self) -> pl.Schema:
        """Return the newest version's columns; none if the table does not exist."""
        with self._lock:
            return _columns(self._refresh()) or pl.Schema()

    def offset(self, app: str) -> int:
        """Return the last offset that an app committed; -1 if it never did."""
        with self._lock:
            return _offset(self._refresh(), app)

    def append(
        self,
        frame: pl.DataFrame | pl.LazyFrame,
        *,
        app: str | None = None,
        offset: int | None = None,
        metadata: Mapping[str, JsonValue] | None = None,
    ) -> int:
        """Add rows in one commit, together with the offset that the app has reached.

        Args:
            frame: The rows; a lazy frame is streamed. Columns that the table lacks are added to
                it; without rows, only the offset is committed.
            app: Who writes, such as a source's name; only with `offset`.
            offset: At least 0 and rising; one that is committed already makes this do nothing.
            metadata: Kept in the commit.

        Returns:
            A version that holds the rows.

        Raises:
            ConflictError: If another writer of the same app came between; nothing was added.
            DataError: If a column's type is not the table's, or rows cannot be computed.
            UnavailableError: If the disk is full or the store does not answer.
        """
        if (app is None) != (offset is None) or (offset is not None and offset < 0):
            raise ValueError("app and offset belong together, and an offset is at least 0")
        rows = frame.lazy()
        piece = _Piece(
            rows,
            _schema_of(rows, self.name),
            app,
            -1 if offset is None else offset,
            metadata,
        )
        with self._lock:
            return self._append(piece)

    def scan(self, version: int | None = None) -> pl.LazyFrame:
        """Read the newest or another version; every file is verified before its first read.

        Raises:
            KeyError: If the table has no such version.
            CorruptError: If a file is missing or was changed.
        """
        with self._lock:
            table = self._at(version)
            if table is None:
                return pl.LazyFrame()
            return self._files.scan(delta.data_files(table), delta.arrow_schema(table))

    def num_rows(self, version: int | None = None) -> int:
        """Count the rows without reading them; 0 if the table does not exist."""
        return sum(file.num_rows for file in self.files(version))

    def files(self, version: int | None = None) -> list[DataFile]:
        """Return the files of the newest or another version, in the order their rows came.

        Raises:
            KeyError: If the table has no such version.
        """
        with self._lock:
            table = self._at(version)
            return delta.data_files(table) if table else []

    def compact(self) -> None:
        """Merge small files; offsets, rows and their order stay as they are.

        If another process compacts at the same time, one of the two does nothing.

        Raises:
            CorruptError: If a file is missing or was changed.
        """
        with self._lock:
            table = self._refresh()
            if table is not None and compact(self.name, table, self._files):
                self._settle(_version(table))

    def _append(self, piece: _Piece) -> int:
        table = self._refresh()
        before = _offset(table, piece.app)
        if piece.app is not None and piece.offset <= before:
            return _version(table)
        plan: pl.Schema | None = None
        file: DataFile | None = None
        for _ in range(_ATTEMPTS):
            try:
                self._check_turn(table, piece.app, before)
                wanted = plan_schema(self.name, piece.found, _columns(table))
            except (ConflictError, DataError):
                self._files.discard(file)
                raise
            if wanted != plan:
                self._files.discard(file)
                plan, file = wanted, self._files.write(cast_to(piece.rows, piece.found, wanted))
            try:
                self._commit(table, plan, file, piece)
            except ConflictError:
                table = self._refresh()
            else:
                return self._settle(_version(table))
        self._files.discard(file)
        raise ConflictError(f"{self.name}: lost {_ATTEMPTS} races in a row; retry later")

    def _check_turn(self, table: DeltaTable | None, app: str | None, before: int) -> None:
        found = _offset(table, app)
        if found != before:
            raise ConflictError(
                f"{self.name}: another writer committed {app!r} at {found}, expected {before}; "
                "read the offset again and retry"
            )

    def _commit(
        self, table: DeltaTable | None, plan: pl.Schema, file: DataFile | None, piece: _Piece
    ) -> None:
        commit = Commit(
            adds=[file] if file else [],
            app=piece.app,
            offset=piece.offset,
            metadata=piece.metadata,
            schema=delta.delta_schema(plan) if table is None else None,
        )
        with delta.explained(self.name):
            if table is None:
                self._create(plan, commit)
                return
            delta.widen(table, plan, lambda schema: Commit(schema=schema).properties())
            table.create_write_transaction(
                [file.add_action(is_new=True) for file in commit.adds],
                "append",
                table.schema(),
                commit_properties=commit.properties(),
                post_commithook_properties=delta.NO_HOOKS,
            )

    def _create(self, plan: pl.Schema, commit: Commit) -> None:
        if not plan:
            raise DataError(f"{self.name}: a table's first rows need at least one column")
        self._objects.mark()
        delta.make_folder(self._objects, self.folder)
        create_table_with_add_actions(
            delta.table_url(self._objects, self.folder),
            delta.delta_schema(plan),
            [file.add_action(is_new=True) for file in commit.adds],
            configuration=_CONFIGURATION,
            storage_options=delta.delta_options(self._objects.options),
            commit_properties=commit.properties(),
            post_commithook_properties=delta.NO_HOOKS,
        )

    def _settle(self, before: int) -> int:
        table = self._refresh()
        assert table is not None
        if delta.settle(self._objects, self.folder, table, before):
            self._seals.seal_checkpoint(_version(table))
        return _version(table)

    def _refresh(self) -> DeltaTable | None:
        # A held table replays every commit since it was opened; opening it again starts at the
        # newest checkpoint, so the cost of a commit does not grow with the table's history.
        if self._held is None or self._checked - self._opened > delta.CHECKPOINT_INTERVAL:
            self._held = delta.open_table(self._objects, self.folder)
            self._seals.check(_version(self._held))
            self._opened = _version(self._held)
        else:
            with delta.explained(self.name):
                self._held.update_incremental()
            self._seals.check(_version(self._held), since=self._checked)
        self._checked = _version(self._held)
        return self._held

    def _at(self, version: int | None) -> DeltaTable | None:
        newest = self._refresh()
        if version is None or version == _version(newest):
            return newest
        if not 0 <= version < _version(newest):
            raise KeyError(f"{self.name}: no version {version}, the newest is {_version(newest)}")
        table = delta.open_table(self._objects, self.folder, version)
        self._seals.check(version)
        return table


def _schema_of(rows: pl.LazyFrame, where: str) -> pl.Schema:
    try:
        return rows.collect_schema()
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{where}: the rows cannot be computed: {error}") from error


def _columns(table: DeltaTable | None) -> pl.Schema | None:
    return delta.arrow_schema(table) if table else None


def _version(table: DeltaTable | None) -> int:
    return table.version() if table else -1


def _offset(table: DeltaTable | None, app: str | None) -> int:
    found = table.transaction_version(app) if table and app is not None else None
    return -1 if found is None else found
