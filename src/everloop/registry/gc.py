"""Frees what nothing refers to any more: old bundles, table files, leftovers of killed writers."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Literal

from everloop.registry.routes import Routes
from everloop.registry.versions import Registry
from everloop.spec.record import Record
from everloop.store.bundles import Bundles
from everloop.store.objects import ObjectInfo, Objects
from everloop.store.retention import unneeded
from everloop.store.tables import Tables

GRACE = timedelta(days=1)
"""What was written or read this recently stays: a writer or reader may still be at work on it."""

Kind = Literal["bundle", "table", "temporary"]


class Freed(Record):
    """One thing that was, or would be, removed.

    Attributes:
        kind: What it was part of.
        path: Below the store's url.
        size_bytes: What that frees.
    """

    kind: Kind
    path: str
    size_bytes: int


class GcReport(Record):
    """What a collection removed.

    Attributes:
        freed: Each file.
        kept_bundles: Digests of the bundles that stay.
        is_dry_run: Whether nothing was removed.
    """

    freed: tuple[Freed, ...]
    kept_bundles: tuple[str, ...]
    is_dry_run: bool

    @property
    def size_bytes(self) -> int:
        """What was freed in all."""
        return sum(item.size_bytes for item in self.freed)


def collect(
    objects: Objects,
    tables: Tables,
    model: str,
    *,
    keep: int,
    dry_run: bool,
    before: datetime | None = None,
) -> GcReport:
    """Remove what nothing needs.

    A bundle stays if one of the model's last `keep` versions, an alias (now, or in the last `keep`
    moves), the last `keep` routes or another model's version refers to it, if it is among the
    `keep` newest without a version, or if it was written since `before`. A table's file stays
    if its newest version, a version that a bundle that stays was made from, or any version since
    `before` refers to it.

    Args:
        objects: The store.
        tables: The store's tables.
        model: Whose bundles may be freed.
        keep: At least 1.
        dry_run: Report only.
        before: What was written since then stays; a day ago where it is left out.

    Raises:
        ValueError: If `keep` is less than 1.
        CorruptError: If the registry, a manifest that stays, or a table's records are damaged;
            what was not removed by then stays.
    """
    if keep < 1:
        raise ValueError(f"keep is {keep}, expected at least 1")
    before = before or datetime.now(UTC) - GRACE
    held = _Bundles(objects, model, keep, before)
    freed = [_freed("bundle", info) for digest in held.unneeded for info in held.infos[digest]]
    if not dry_run:
        for digest in held.unneeded:
            Bundles(objects).delete(digest)
    for name in tables.names():
        wanted = held.versions_of(name)
        files = unneeded(objects, tables.table(name), wanted, before=before)
        freed += [_freed("table", info) for info in files]
        if not dry_run:
            objects.delete([info.path for info in files])
    left = objects.abandoned(before)
    if not dry_run:
        objects.sweep(left)
    freed += [_freed("temporary", info) for info in left]
    return GcReport(freed=tuple(freed), kept_bundles=tuple(held.kept), is_dry_run=dry_run)


class _Bundles:
    """Which bundles stay, and which versions of the tables those were made from."""

    def __init__(self, objects: Objects, model: str, keep: int, before: datetime) -> None:
        self._bundles = Bundles(objects)
        self.infos: dict[str, list[ObjectInfo]] = {}
        for info in objects.list("bundles"):
            self.infos.setdefault(info.path.split("/")[1], []).append(info)
        referred = set(_referred(objects, model, keep))
        whole = set(self._bundles.list())
        spare = [
            digest
            for digest in self._by_age()
            if digest not in referred and self._is_old(digest, before)
        ]
        versioned = {version.bundle for version in Registry(objects, model).versions()}
        loose = [d for d in spare if d in whole and d not in versioned and self._is_of(d, model)]
        half = [digest for digest in spare if digest not in whole]
        retired = [digest for digest in spare if digest in versioned and digest in whole]
        self.unneeded = [*retired, *half, *loose[: max(0, len(loose) - keep)]]
        self.kept = sorted(whole - set(self.unneeded))
        self._data = [pair for digest in self.kept for pair in self._bundles.manifest(digest).data]

    def versions_of(self, table: str) -> list[int]:
        """Return the table's versions that a bundle that stays was made from."""
        return [used.version for used in self._data if used.table == table]

    def _by_age(self) -> list[str]:
        return sorted(self.infos, key=self._newest)

    def _newest(self, digest: str) -> datetime:
        return max(info.modified for info in self.infos[digest])

    def _is_old(self, digest: str, before: datetime) -> bool:
        return self._newest(digest) < before

    def _is_of(self, digest: str, model: str) -> bool:
        return self._bundles.manifest(digest).name == model


def _referred(objects: Objects, model: str, keep: int) -> Iterator[str]:
    others = {info.path.split("/")[1] for info in objects.list("registry")} - {model}
    for other in sorted(others):
        yield from (version.bundle for version in Registry(objects, other).versions())
    registry = Registry(objects, model)
    versions = registry.versions()
    yield from (version.bundle for version in versions[-keep:])
    numbers = set(registry.aliases().values())
    for move in registry.moves()[-keep:]:
        numbers |= {number for number in move.aliases.values() if number is not None}
    yield from (versions[number - 1].bundle for number in sorted(numbers))
    for route in Routes(objects, model).history()[-keep:]:
        yield from (target.bundle for target in route.live)


def _freed(kind: Kind, info: ObjectInfo) -> Freed:
    return Freed(kind=kind, path=info.path, size_bytes=info.size_bytes)
