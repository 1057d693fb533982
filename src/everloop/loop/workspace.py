"""One project with its store: what every part of the loop is handed."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from everloop.loop.ledger import Ledger
from everloop.registry.routes import Routes
from everloop.registry.versions import Registry
from everloop.runtime.clock import Clock, SystemClock
from everloop.spec.errors import DataError
from everloop.spec.file import DEFAULT_FILE, load_project
from everloop.spec.progress import Progress, no_progress
from everloop.spec.project import Project
from everloop.store.bundles import Bundle, Bundles
from everloop.store.lease import Lease
from everloop.store.log import Log
from everloop.store.objects import Objects

if TYPE_CHECKING:
    from everloop.store.tables import Tables

LEASE_LENGTH_S = 15.0


@dataclass(frozen=True)
class Workspace:
    """A project, its store, and the clock.

    Attributes:
        project: The project file's records.
        root: The project file's directory; relative paths in the file start here.
        clock: Time, as an argument.
        progress: Told of long work.
    """

    project: Project
    root: Path
    clock: Clock = field(default_factory=SystemClock)
    progress: Progress = no_progress

    @classmethod
    def open(
        cls, path: Path, *, clock: Clock | None = None, progress: Progress = no_progress
    ) -> Workspace:
        """Read the project file at a path, or in a directory.

        Raises:
            ProjectError: If the file has mistakes.
        """
        file = path / DEFAULT_FILE if path.is_dir() else path
        return cls(load_project(file), file.parent.resolve(), clock or SystemClock(), progress)

    @property
    def model(self) -> str:
        """The model's name, which is the project's."""
        return self.project.project.name

    @cached_property
    def objects(self) -> Objects:
        """Plain objects of the store."""
        return Objects.open(self.project.store, self.root)

    @cached_property
    def tables(self) -> Tables:
        """Tables of the store; loads the data packages on first use."""
        from everloop.store.tables import Tables

        return Tables(self.objects, self.project.store)

    @cached_property
    def bundles(self) -> Bundles:
        """Bundles of the store."""
        return Bundles(self.objects)

    @cached_property
    def registry(self) -> Registry:
        """Versions and aliases of the project's model."""
        return Registry(self.objects, self.model)

    @cached_property
    def routes(self) -> Routes:
        """The project's route."""
        return Routes(self.objects, self.model)

    @cached_property
    def ledger(self) -> Ledger:
        """The record of stage runs."""
        return Ledger(self.objects, self.clock)

    @cached_property
    def decisions(self) -> Log:
        """The hash-chained audit trail of decisions."""
        return Log(self.objects, f"decisions/{self.model}")

    @cached_property
    def newest_times(self) -> dict[tuple[str, int], datetime | None]:
        """What was found of table versions, by name and version."""
        return {}

    def lease(self, place: str, *, is_alone: bool) -> Lease:
        """Return this process's claim to act; only the holder turns the loop.

        Args:
            place: Names this machine's local directory; begins the holder's name.
            is_alone: Whether no other process of that place can be at work, so that a holder from
                there is gone and need not be waited for.
        """
        return Lease(
            self.objects,
            f"lease/{self.model}",
            holder=f"{place}/{uuid.uuid4().hex[:8]}",
            length_s=LEASE_LENGTH_S,
            clock=self.clock.monotonic,
            is_gone=lambda holder: is_alone and holder.startswith(f"{place}/"),
        )

    @property
    def spool(self) -> Path:
        """Where the replica of this machine logs predictions and labels."""
        if self.project.serve.spool is not None:
            return self.root / self.project.serve.spool
        return self.local("spool")

    @property
    def work(self) -> Path:
        """Scratch space of this machine, such as checkpoints of a training."""
        return self.local("work")

    def local(self, name: str) -> Path:
        """Return a directory of this machine: in the store, or beside the project file."""
        return self.objects.local_path(name) or self.root / ".everloop" / name

    def version_bundle(self, number: int) -> Bundle:
        """Open the bundle of a version, verified.

        Raises:
            DataError: If there is no such version, or its bundle was freed.
        """
        try:
            digest = self.registry.version(number).bundle
        except KeyError as error:
            raise DataError(f"{error.args[0]}; see `everloop models`") from None
        try:
            return self.bundles.open(digest)
        except KeyError:
            raise DataError(f"version {number}: its bundle was freed by `everloop gc`") from None

    def champion(self) -> tuple[int, Bundle] | None:
        """Return the version now serving and its bundle, if there is one."""
        number = self.registry.aliases().get("champion")
        return None if number is None else (number, self.version_bundle(number))


def iso(moment: datetime) -> str:
    """Write a moment as ISO 8601 in UTC, with milliseconds."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
