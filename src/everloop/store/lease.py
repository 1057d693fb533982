"""A lease: one holder at a time, by put-if-absent alone, without trusting anybody's wall clock."""

import json
from collections.abc import Callable
from dataclasses import dataclass

from everloop.spec.errors import ConflictError, CorruptError
from everloop.store.objects import Objects, check_path


@dataclass(frozen=True)
class _Sight:
    """What was last seen of the holder, and when it was first seen like that."""

    epoch: int
    record: bytes
    since_s: float


class Lease:
    """The right to do one thing, such as writing a source's table.

    Each taking of the lease is an epoch: a file that must not exist yet, whose number fences off
    earlier holders. The holder renews by rewriting a second file. Others take over only once they
    have watched that file stay the same for the whole length on their own clock, so a holder whose
    wall clock jumps loses nothing. A lease is a help, not a proof: what is written under it must
    check the fencing number, or an offset, as a table does.

    Args:
        objects: The store.
        path: The lease's folder, such as ``leases/ingest``.
        holder: Says who holds it; unique for each process.
        length_s: How long others wait for a sign of life; renew at least three times as often.
        clock: Monotonic seconds, such as `time.monotonic`.
        is_gone: Whether a holder is known to live no more, so that nobody waits for it; nothing is
            known of any where it is left out.
    """

    def __init__(
        self,
        objects: Objects,
        path: str,
        *,
        holder: str,
        length_s: float,
        clock: Callable[[], float],
        is_gone: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._objects = objects
        self._folder = check_path(path)
        self._holder = holder
        self._length_s = length_s
        self._clock = clock
        self._is_gone = is_gone
        self._epoch: int | None = None
        self._count = 0
        self._sight: _Sight | None = None

    def acquire(self) -> int | None:
        """Take the lease if it is free, or its holder showed no life for the length.

        Call it again and again: a silent holder must have been watched for the length.

        Returns:
            The fencing number, higher than any before; None if another holds it.

        Raises:
            UnavailableError: If the store does not answer.
        """
        if self._epoch is not None and self.renew():
            return self._epoch
        epoch = self._newest()
        if epoch and not self._is_free(epoch):
            return None
        try:
            self._objects.put_new(self._path(epoch + 1), self._record())
        except ConflictError:
            return None
        self._epoch, self._count, self._sight = epoch + 1, 0, None
        self._forget(before=epoch)
        return self._epoch

    def renew(self) -> bool:
        """Show life.

        Returns:
            False once the lease is lost, or was never held.

        Raises:
            UnavailableError: If the store does not answer; try again within the length.
        """
        if self._epoch is None:
            return False
        self._count += 1
        self._objects.put(self._renewal(self._epoch), self._record())
        # The renewal comes first: whoever took over before it is seen, and whoever looks after it
        # sees life.
        if self._newest() != self._epoch:
            self._epoch = None
        return self._epoch is not None

    def release(self) -> None:
        """Give the lease up, so that another need not wait; harmless if it is lost."""
        if self._epoch is not None:
            self._objects.put(self._renewal(self._epoch), self._record(is_released=True))
            self._epoch = None

    def _is_free(self, epoch: int) -> bool:
        record = self._read(epoch)
        if _is_released(record, self._folder) or self._is_gone(self._holder_of(epoch)):
            return True
        now_s = self._clock()
        sight = self._sight
        if sight is None or (sight.epoch, sight.record) != (epoch, record):
            self._sight = _Sight(epoch, record, now_s)
            return False
        return now_s - sight.since_s >= self._length_s

    def _read(self, epoch: int) -> bytes:
        try:
            return self._objects.get(self._renewal(epoch))
        except KeyError:
            return b""

    def _holder_of(self, epoch: int) -> str:
        try:
            return str(json.loads(self._objects.get(self._path(epoch)))["holder"])
        except (KeyError, ValueError):
            return ""

    def _record(self, *, is_released: bool = False) -> bytes:
        record = {"holder": self._holder, "count": self._count, "is_released": is_released}
        return json.dumps(record, sort_keys=True).encode()

    def _newest(self) -> int:
        names = [info.path.rsplit("/", 1)[-1] for info in self._objects.list(self._folder)]
        return max((int(n[:-5]) for n in names if n[:-5].isdecimal()), default=0)

    def _forget(self, before: int) -> None:
        # The newest two epochs stay: a late holder must still see that it was overtaken.
        paths = [info.path for info in self._objects.list(self._folder)]
        numbers = {path: path.rsplit("/", 1)[-1].split(".")[0] for path in paths}
        self._objects.delete([p for p, n in numbers.items() if n.isdecimal() and int(n) < before])

    def _path(self, epoch: int) -> str:
        return f"{self._folder}/{epoch:08d}.json"

    def _renewal(self, epoch: int) -> str:
        return f"{self._folder}/{epoch:08d}.renewed.json"


def _is_released(record: bytes, where: str) -> bool:
    if not record:
        return False
    try:
        return bool(json.loads(record)["is_released"])
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptError(f"{where}: not a lease's record; remove the folder") from error
