"""The right to act: held by one controller at a time, renewed while it works."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from everloop.loop.workspace import LEASE_LENGTH_S, Workspace
from everloop.spec.errors import ConflictError
from everloop.store.lease import Lease


class Keeper:
    """Renews a lease in the background; `is_lost` once another holder has it.

    A controller that works on after it lost the lease does no harm: its next entry in the audit
    trail is refused, because another's came first.
    """

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._ended = threading.Event()
        self.is_lost = False
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    def _renew(self) -> None:
        while not self._ended.wait(LEASE_LENGTH_S / 3):
            if not self._lease.renew():
                self.is_lost = True
                return

    def end(self) -> None:
        """Stop renewing and let others act."""
        self._ended.set()
        self._thread.join()
        if not self.is_lost:
            self._lease.release()


@contextmanager
def acting(ws: Workspace) -> Iterator[Keeper]:
    """Hold the right to act for the length of a block; wait for a holder that died.

    Raises:
        ConflictError: If another controller holds it and is alive.
    """
    lease = ws.lease()
    waited = 0.0
    while lease.acquire() is None:
        if waited > LEASE_LENGTH_S + 1 or ws.clock.wait(0.5):
            raise ConflictError(
                f"another controller is at work on {ws.model!r}; end it (`everloop watch` or "
                "`everloop up`), or let it do this"
            )
        waited += 0.5
    keeper = Keeper(lease)
    try:
        yield keeper
    finally:
        keeper.end()
