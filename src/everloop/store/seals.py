"""Digests in a table's own records, so that a flipped bit in them is noticed.

deltalake believes what it reads: a changed offset would bring rows twice, a changed count or
column would be answered as if it were true. So each commit carries a digest of what it does, and
each checkpoint has one beside it. They are checked on a local disk; object stores check their own.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deltalake import CommitProperties, Schema, Transaction
from pydantic import JsonValue

from everloop.spec.errors import CorruptError
from everloop.store import durable
from everloop.store.delta import DataFile
from everloop.store.objects import Objects
from everloop.store.places import digest_of

_KEY = "everloop.seal"
_CHECKPOINT = ".checkpoint.parquet"


@dataclass(frozen=True, kw_only=True)
class Commit:
    """What one commit does.

    Attributes:
        adds: Files that become part of the table.
        removes: Files that leave it.
        app: Whose offset is set, if any.
        offset: To what.
        schema: The table's columns, if the commit sets them.
        metadata: Kept in the commit.
    """

    adds: Sequence[DataFile] = ()
    removes: Sequence[DataFile] = ()
    app: str | None = None
    offset: int = -1
    schema: Schema | None = None
    metadata: Mapping[str, JsonValue] | None = None

    def properties(self) -> CommitProperties:
        """Return what deltalake keeps beside the actions."""
        custom: dict[str, Any] = {_KEY: self._seal()}
        if self.metadata:
            custom["everloop"] = dict(self.metadata)
        offsets = None if self.app is None else [Transaction(self.app, self.offset)]
        return CommitProperties(custom_metadata=custom, app_transactions=offsets)

    def _seal(self) -> str:
        return _digest(
            adds=[[f.name, f.size_bytes, f.num_rows, f.order] for f in self.adds],
            removes=[file.name for file in self.removes],
            offsets=[] if self.app is None else [[self.app, self.offset]],
            fields=None if self.schema is None else json.loads(self.schema.to_json())["fields"],
        )


def _digest(*, adds: list[Any], removes: list[Any], offsets: list[Any], fields: object) -> str:
    text = json.dumps([sorted(adds), sorted(removes), sorted(offsets), fields], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


class Seals:
    """Checks the records of one table, each once in this process."""

    def __init__(self, objects: Objects, folder: str) -> None:
        self._objects = objects
        self._folder = f"{folder}/_delta_log"
        self._checked: set[str] = set()

    def check(self, version: int, since: int = -1) -> None:
        """Check what deltalake reads for a version: a checkpoint and the commits after it.

        Args:
            version: The version.
            since: One that was checked and is held; only the commits after it are read.

        Raises:
            CorruptError: If one of them was changed, or is no commit of everloop's.
        """
        log = self._objects.local_path(self._folder)
        if log is None or version <= since:
            return
        first = since + 1
        if since < 0:
            first = version
            while first > 0 and not (log / f"{first:020d}{_CHECKPOINT}").exists():
                first -= 1
            self._check_checkpoint(log, first)
        for number in range(first, version + 1):
            self._check_once(log / f"{number:020d}.json")

    def seal_checkpoint(self, version: int) -> None:
        """Keep the digest of a checkpoint that was just written."""
        log = self._objects.local_path(self._folder)
        if log is not None:
            digest = digest_of(durable.blocks(log / f"{version:020d}{_CHECKPOINT}"))
            self._objects.put(f"{self._folder}/{version:020d}.checkpoint.sha256", digest.encode())

    def _is_new(self, name: str) -> bool:
        return name not in self._checked

    def _check_once(self, commit: Path) -> None:
        if not self._is_new(commit.name):
            return
        try:
            data = commit.read_bytes()
        except FileNotFoundError:
            return  # gc removed it: a checkpoint stands for it
        _check_commit(commit, data)
        self._checked.add(commit.name)

    def _check_checkpoint(self, log: Path, version: int) -> None:
        name = f"{version:020d}{_CHECKPOINT}"
        seal = log / f"{version:020d}.checkpoint.sha256"
        # A writer killed between the two leaves no seal; the next checkpoint has one again.
        if not self._is_new(name) or not seal.exists():
            return
        if digest_of(durable.blocks(log / name)) != seal.read_text(errors="replace"):
            raise CorruptError(f"{log / name}: changed after it was written; restore the table")
        self._checked.add(name)


def _check_commit(path: Path, data: bytes) -> None:
    try:
        actions = [json.loads(line) for line in data.splitlines() if line.strip()]
        found = _digest(
            adds=[_add(action["add"]) for action in actions if "add" in action],
            removes=[action["remove"]["path"] for action in actions if "remove" in action],
            offsets=[_offset(action["txn"]) for action in actions if "txn" in action],
            fields=_fields(actions),
        )
        expected = next(action["commitInfo"] for action in actions if "commitInfo" in action)[_KEY]
    except (ValueError, KeyError, TypeError, StopIteration, RecursionError) as error:
        text = f"{path}: not a commit that everloop wrote ({error!r}); restore the table"
        raise CorruptError(text) from error
    if found != expected:
        raise CorruptError(f"{path}: changed after it was written; restore the table from a copy")


def _add(add: Mapping[str, Any]) -> list[Any]:
    num_rows = json.loads(add["stats"])["numRecords"]
    return [add["path"], add["size"], num_rows, add["modificationTime"]]


def _offset(txn: Mapping[str, Any]) -> list[Any]:
    return [txn["appId"], txn["version"]]


def _fields(actions: Iterable[Mapping[str, Any]]) -> object:
    for action in actions:
        if "metaData" in action:
            return json.loads(action["metaData"]["schemaString"])["fields"]
    return None
