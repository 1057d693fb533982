"""Versions and aliases of one model: the one place that says which bundle is champion."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from everloop.spec.errors import ConflictError, CorruptError
from everloop.store.log import Entry, Log
from everloop.store.objects import Objects

_BUNDLE = re.compile(r"[0-9a-f]{64}")
_ALIAS = re.compile(r"(?!v\d+$)[\w-]{1,255}", re.ASCII)
_ATTEMPTS = 100


@dataclass(frozen=True, kw_only=True)
class Version:
    """A bundle's place in a model's history.

    Attributes:
        number: Counted from 1; never used again.
        bundle: The bundle's digest.
        note: Why it was registered.
        created_at: ISO 8601 UTC.
    """

    number: int
    bundle: str
    note: str
    created_at: str


@dataclass(frozen=True, kw_only=True)
class AliasMove:
    """One atomic change of aliases.

    Attributes:
        number: Counted from 1.
        aliases: Alias to the version it points at from now on; None takes the alias away.
        reason: Why.
        at: ISO 8601 UTC.
    """

    number: int
    aliases: Mapping[str, int | None]
    reason: str
    at: str


def check_alias(alias: str) -> str:
    """Return the alias if it may be one.

    Raises:
        ValueError: If it is empty, longer than 255, ``latest``, looks like ``v1``, or holds
            anything but letters, digits, underscore and hyphen.

    >>> check_alias("champion")
    'champion'
    """
    if not _ALIAS.fullmatch(alias) or alias.lower() == "latest":
        raise ValueError(
            f"alias {alias[:300]!r}: expected letters, digits, '_' and '-', not 'latest' and "
            "not 'v' and a number, such as 'champion'"
        )
    return alias


class Registry:
    """A model's versions and aliases, each in a log of their own."""

    def __init__(self, objects: Objects, model: str) -> None:
        self.model = model
        self._versions = Log(objects, f"registry/{model}/versions")
        self._aliases = Log(objects, f"registry/{model}/aliases")

    def register(self, bundle: str, *, note: str = "") -> Version:
        """Give a bundle a version; the same bundle keeps the one it has.

        Raises:
            ValueError: If it is no bundle's digest.
            ConflictError: If other writers were first a hundred times in a row.
        """
        if not _BUNDLE.fullmatch(bundle):
            raise ValueError(f"bundle {bundle[:100]!r}: expected 64 hexadecimal digits")
        for _ in range(_ATTEMPTS):
            versions = self.versions()
            for version in versions:
                if version.bundle == bundle:
                    return version
            try:
                record = {"bundle": bundle, "note": note}
                return _as_version(self._versions.append(record, expect=len(versions)))
            except ConflictError:
                continue
        raise ConflictError(f"{self.model}: lost {_ATTEMPTS} races in a row; retry later")

    def versions(self) -> list[Version]:
        """Return all versions, oldest first.

        Raises:
            CorruptError: If an entry is missing, damaged, or not chained to the one before.
        """
        return [_as_version(entry) for entry in self._versions.entries()]

    def version(self, number: int) -> Version:
        """Return one version.

        Raises:
            KeyError: If there is none with that number.
        """
        versions = self.versions()
        if not 1 <= number <= len(versions):
            raise KeyError(f"{self.model} has no version {number}; the newest is {len(versions)}")
        return versions[number - 1]

    def move(
        self, aliases: Mapping[str, int | None], *, reason: str, expect: int | None = None
    ) -> int:
        """Point aliases at versions, all of them or none.

        Args:
            aliases: Alias to version number; None takes the alias away.
            reason: Why; kept for ever.
            expect: The number of the last move that the caller knows (0 for none).

        Returns:
            The move's number.

        Raises:
            ValueError: If an alias may not have that name, or nothing would move.
            KeyError: If there is no such version.
            ConflictError: If there was another move since `expect`.
        """
        if not aliases:
            raise ValueError("no alias to move")
        for alias, number in aliases.items():
            check_alias(alias)
            if number is not None:
                self.version(number)
        record: dict[str, JsonValue] = {"aliases": {**aliases}, "reason": reason}
        return self._aliases.append(record, expect=expect).number

    def aliases(self) -> dict[str, int]:
        """Return where each alias points now."""
        found: dict[str, int | None] = {}
        for move in self.moves():
            found |= move.aliases
        return {alias: number for alias, number in found.items() if number is not None}

    def moves(self) -> list[AliasMove]:
        """Return all moves, oldest first.

        Raises:
            CorruptError: If an entry is missing, damaged, or not chained to the one before.
        """
        return [_as_move(entry) for entry in self._aliases.entries()]


def _as_version(entry: Entry) -> Version:
    try:
        bundle, note = entry.record["bundle"], entry.record["note"]
    except KeyError as error:
        raise CorruptError(f"version {entry.number}: {error} is missing; restore it") from error
    return Version(number=entry.number, bundle=bundle, note=note, created_at=entry.at)


def _as_move(entry: Entry) -> AliasMove:
    try:
        aliases, reason = entry.record["aliases"], entry.record["reason"]
    except KeyError as error:
        raise CorruptError(f"alias move {entry.number}: {error} is missing; restore it") from error
    return AliasMove(number=entry.number, aliases=aliases, reason=reason, at=entry.at)
