"""What deltalake is asked to do, and what its errors mean."""

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from deltalake import CommitProperties, DeltaTable, Schema
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, PostCommitHookProperties

from everloop.spec.errors import ConflictError, CorruptError, EverloopError, UnavailableError
from everloop.store import durable
from everloop.store.objects import Objects

CHECKPOINT_INTERVAL = 50
"""Commits between two checkpoints; opening a table reads at most this many small files."""
NO_HOOKS = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
_NAME = re.compile(r"part-([0-9a-f]{64})\.parquet")
_COLOUR = re.compile(r"\x1b\[\d+m")
_MEANINGS: tuple[tuple[re.Pattern[str], type[EverloopError], str], ...] = (
    (
        re.compile(r"table already exists|version already exists"),
        ConflictError,
        "another writer was first: read again and retry",
    ),
    (
        re.compile(r"os error (28|122)\b|[Nn]o space left|[Dd]isk quota"),
        UnavailableError,
        "the disk is full: free some space, then run again",
    ),
    (
        re.compile(r"os error (1|13|30)\b|[Pp]ermission denied|Read-only file"),
        UnavailableError,
        "give this user the right to use it",
    ),
    (
        re.compile(r"sending request|[Tt]imed? ?out|Connect|HTTP (error|status)|Input/output"),
        UnavailableError,
        "check the disk, the network and store.options",
    ),
)
"""deltalake gives most errors as text alone."""


@dataclass(frozen=True)
class DataFile:
    """One file of a table's version.

    Attributes:
        name: ``part-<sha256>.parquet``, below the table's folder.
        size_bytes: Its size.
        num_rows: Rows in it.
        order: Milliseconds since 1970 when its rows came; rows are read in this order.
    """

    name: str
    size_bytes: int
    num_rows: int
    order: int

    @property
    def digest(self) -> str:
        """The sha256 that its bytes must have.

        Raises:
            CorruptError: If the name is not one that everloop gives.
        """
        match = _NAME.fullmatch(self.name)
        if match is None:
            raise CorruptError(f"{self.name}: not a file that everloop wrote; restore the table")
        return match[1]

    def add_action(self, *, is_new: bool) -> AddAction:
        """Return the action that makes it part of the table."""
        stats = json.dumps({"numRecords": self.num_rows})
        return AddAction(self.name, self.size_bytes, {}, self.order, is_new, stats)


@contextlib.contextmanager
def explained(where: str) -> Iterator[None]:
    """Turn what deltalake and Polars raise into errors that say what to do.

    Raises:
        ConflictError: If another writer was first.
        CorruptError: If the table's own records cannot be read.
        UnavailableError: If the disk is full, or the store does not answer.
    """
    try:
        yield
    except EverloopError:
        raise
    except CommitFailedError as error:
        raise ConflictError(f"{where}: {error}; read again and retry") from error
    except (DeltaError, OSError, pl.exceptions.PolarsError) as error:
        raise _explain(where, error) from error


def _explain(where: str, error: Exception) -> EverloopError:
    text = " ".join(_COLOUR.sub("", str(error)).split())[:500]
    for pattern, kind, advice in _MEANINGS:
        if pattern.search(text):
            return kind(f"{where}: {text}; {advice}")
    return CorruptError(f"{where}: its records cannot be read ({text}); restore it from a copy")


def open_table(objects: Objects, folder: str, version: int | None = None) -> DeltaTable | None:
    """Open a table's newest or another version; None if the table does not exist."""
    with explained(folder), contextlib.suppress(TableNotFoundError):
        return DeltaTable(
            table_url(objects, folder), version, storage_options=delta_options(objects.options)
        )
    return None


def table_url(objects: Objects, folder: str) -> str:
    """Return where a table lies, as deltalake and Polars take it."""
    local = objects.local_path(folder)
    return str(local) if local else f"{objects.url}/{folder}"


def delta_options(options: Mapping[str, str]) -> dict[str, str]:
    """Return the store's options by the names that deltalake and Polars know."""
    return {key.lower(): value for key, value in options.items()}


def arrow_schema(table: DeltaTable) -> pl.Schema:
    """Return a table's columns."""
    return pl.Schema(table.schema().to_arrow())


def delta_schema(schema: pl.Schema) -> Schema:
    """Return columns as Delta names them."""
    return Schema.from_arrow(schema)


def data_files(table: DeltaTable) -> list[DataFile]:
    """Return the files of a table's version, in the order their rows came."""
    actions = pl.DataFrame(table.get_add_actions(flatten=True))
    found = actions.select("path", "size_bytes", "num_records", "modification_time").rows()
    # The newest commit comes first in the log, so reversing settles equal times.
    return sorted((DataFile(*row) for row in reversed(found)), key=lambda file: file.order)


def now_ms() -> int:
    """Return the time as Delta keeps it."""
    return time.time_ns() // 1_000_000


def make_folder(objects: Objects, folder: str) -> None:
    """Create a table's folder on disk, for this user alone."""
    local = objects.local_path(f"{folder}/_delta_log")
    if local is not None:
        durable.make_directories(local)


def widen(
    table: DeltaTable, plan: pl.Schema, properties: Callable[[Schema], CommitProperties]
) -> None:
    """Add the columns that a table lacks, in a commit of their own."""
    known = arrow_schema(table)
    new = pl.Schema({name: dtype for name, dtype in plan.items() if name not in known})
    if new:
        fields = delta_schema(new).fields
        table.alter.add_columns(
            fields,
            commit_properties=properties(Schema([*table.schema().fields, *fields])),
            post_commithook_properties=NO_HOOKS,
        )
        table.update_incremental()


def settle(objects: Objects, folder: str, table: DeltaTable, before: int) -> bool:
    """Make what was just committed last: sync it, and write a checkpoint when one is due.

    Returns:
        Whether there is a new checkpoint.
    """
    version = table.version()
    is_due = version // CHECKPOINT_INTERVAL != max(before, 0) // CHECKPOINT_INTERVAL
    if is_due:
        with explained(folder):
            table.create_checkpoint()
    log = objects.local_path(f"{folder}/_delta_log")
    if log is not None:
        names = [f"{number:020d}.json" for number in range(before + 1, version + 1)]
        if is_due:
            names += ["_last_checkpoint", f"{version:020d}.checkpoint.parquet"]
        with durable.explained(log):
            _sync_log(log, names)
    return is_due


def _sync_log(log: Path, names: Iterable[str]) -> None:
    for name in names:
        if (log / name).exists():
            durable.sync_file(log / name)
    durable.sync_directory(log)
