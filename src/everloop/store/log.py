"""Numbered records, each chained to the one before by its digest."""

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import JsonValue

from everloop.spec.errors import ConflictError, CorruptError
from everloop.store.objects import Objects

_ATTEMPTS = 100


@dataclass(frozen=True)
class Entry:
    """One record of a log.

    Attributes:
        number: Counted from 1, without gaps.
        record: What was appended.
        digest: sha256 of the entry's bytes, in hex.
        previous: The digest of the entry before; empty for the first.
        at: When it was appended, ISO 8601 UTC.
    """

    number: int
    record: Mapping[str, Any]
    digest: str
    previous: str
    at: str


class Log:
    """An append-only log; several processes may append, one wins each number.

    Args:
        objects: The store.
        prefix: The folder that holds the entries, such as ``routes/flights``.
        now: Tells the time that entries bear.
    """

    def __init__(
        self,
        objects: Objects,
        prefix: str,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._objects = objects
        self._prefix = prefix
        self._now = now
        self._chain: list[Entry] = []
        self._last: Entry | None = None
        self._lock = threading.RLock()

    def append(self, record: Mapping[str, JsonValue], *, expect: int | None = None) -> Entry:
        """Append a record.

        Args:
            record: JSON of finite numbers.
            expect: The number that the last entry must have (0 for an empty log); None appends
                after whatever is last.

        Raises:
            ConflictError: If the last entry has another number, or another writer was first.
            UnavailableError: If the store does not answer.
        """
        for _ in range(_ATTEMPTS):
            last = self.last()
            number = last.number if last else 0
            if expect is not None and number != expect:
                raise ConflictError(
                    f"{self._prefix}: the last entry is {number}, expected {expect}; "
                    "another writer was first: read again and retry"
                )
            try:
                return self._put(number + 1, record, last.digest if last else "")
            except ConflictError:
                if expect is not None:
                    raise
        raise ConflictError(f"{self._prefix}: lost {_ATTEMPTS} races in a row; retry later")

    def entries(self, after: int = 0) -> list[Entry]:
        """Return the entries behind a number, the whole chain verified.

        Raises:
            CorruptError: If an entry is missing, damaged, or not chained to the one before.
        """
        with self._lock:
            chain = list(self._chain)
            if not chain:
                for number in range(1, self._newest_listed() + 1):
                    chain.append(self._read_next(chain, number))
            while (entry := self._probe(chain[-1] if chain else None)) is not None:
                chain.append(entry)
            self._check_history(chain)
            self._chain, self._last = chain, chain[-1] if chain else None
            return chain[after:]

    def last(self) -> Entry | None:
        """Return the newest entry; one probe for a next one, once any has been seen.

        Raises:
            CorruptError: If an entry is damaged, or not chained to the one before.
        """
        with self._lock:
            if self._last is None:
                self._last = self._newest()
            while (entry := self._probe(self._last)) is not None:
                self._last = entry
            return self._last

    def _check_history(self, chain: list[Entry]) -> None:
        seen = self._last
        if seen is not None and seen not in chain[seen.number - 1 : seen.number]:
            raise CorruptError(
                f"{self._path(seen.number)}: it was read before and is now another or gone; "
                "restore the log from a copy"
            )

    def _newest(self) -> Entry | None:
        number = self._newest_listed()
        if number == 0:
            return None
        before = self._read(number - 1).digest if number > 1 else ""
        return _check_link(self._read(number), before, self._path(number))

    def _newest_listed(self) -> int:
        names = [info.path.rsplit("/", 1)[-1] for info in self._objects.list(self._prefix)]
        numbers = [int(n[:-5]) for n in names if n.endswith(".json") and n[:-5].isdecimal()]
        return max(numbers, default=0)

    def _probe(self, last: Entry | None) -> Entry | None:
        number = last.number + 1 if last else 1
        try:
            data = self._objects.get(self._path(number))
        except KeyError:
            return None
        entry = _parse(data, number, self._path(number))
        return _check_link(entry, last.digest if last else "", self._path(number))

    def _read_next(self, chain: list[Entry], number: int) -> Entry:
        before = chain[-1].digest if chain else ""
        return _check_link(self._read(number), before, self._path(number))

    def _read(self, number: int) -> Entry:
        path = self._path(number)
        try:
            return _parse(self._objects.get(path), number, path)
        except KeyError:
            raise CorruptError(f"{path}: missing, though later entries exist; restore it") from None

    def _put(self, number: int, record: Mapping[str, JsonValue], previous: str) -> Entry:
        at = self._now().astimezone(UTC).isoformat(timespec="microseconds")
        data = _encode({"number": number, "at": at, "previous": previous, "record": dict(record)})
        self._objects.put_new(self._path(number), data)
        with self._lock:
            self._last = _parse(data, number, self._path(number))
            return self._last

    def _path(self, number: int) -> str:
        return f"{self._prefix}/{number:08d}.json"


def _encode(entry: Mapping[str, Any]) -> bytes:
    text = json.dumps(entry, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8") + b"\n"


def _parse(data: bytes, number: int, path: str) -> Entry:
    try:
        found = json.loads(data)
        entry = Entry(
            number=found["number"],
            record=found["record"],
            digest=hashlib.sha256(data).hexdigest(),
            previous=found["previous"],
            at=found["at"],
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorruptError(f"{path}: not an entry of a log ({error}); restore it") from error
    if entry.number != number or not isinstance(entry.record, dict):
        raise CorruptError(f"{path}: found entry {entry.number!r}, expected {number}; restore it")
    return entry


def _check_link(entry: Entry, before: str, path: str) -> Entry:
    if entry.previous != before:
        raise CorruptError(
            f"{path}: it follows {entry.previous[:12] or 'nothing'}, but the entry before is "
            f"{before[:12] or 'none'}; one of the two was changed: restore them from a copy"
        )
    return entry
