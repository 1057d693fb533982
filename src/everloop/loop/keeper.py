"""The right to act: held by one controller at a time, renewed while it works."""

import fcntl
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from everloop.loop.workspace import LEASE_LENGTH_S, Workspace
from everloop.spec.errors import ConflictError, UnavailableError
from everloop.spec.progress import Tell, on_stderr
from everloop.store.lease import Lease

_LOOK_S = 0.5
_say = on_stderr("everloop")


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
            # A store that is away for a moment is asked again; away for longer, the lease is lost.
            with suppress(UnavailableError):
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
def acting(ws: Workspace, tell: Tell = _say) -> Iterator[Keeper]:
    """Hold the right to act for the length of a block; wait for a holder elsewhere that died.

    One that died on this machine is not waited for: its lock went with it.

    Args:
        ws: The workspace.
        tell: Told that there is somebody to wait for.

    Raises:
        ConflictError: If another controller holds it and is alive.
    """
    with _alone_here(ws, tell) as place:
        lease = ws.lease(place, is_alone=True)
        _wait_for(lambda: lease.acquire() is not None, ws, tell)
        keeper = Keeper(lease)
        try:
            yield keeper
        finally:
            keeper.end()


@contextmanager
def _alone_here(ws: Workspace, tell: Tell) -> Iterator[str]:
    """Lock this machine's local directory for one controller; gives the directory's own name."""
    path = ws.local("controller") / ws.model
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _wait_for(lambda: _is_locked(lock), ws, tell)
        yield _place(lock, path)
    finally:
        os.close(lock)


def _wait_for(is_mine: Callable[[], bool], ws: Workspace, tell: Tell) -> None:
    found, waited = f"another controller is at work on {ws.model!r}", 0.0
    while not is_mine():
        if waited > LEASE_LENGTH_S + 1 or ws.clock.wait(_LOOK_S):
            raise ConflictError(
                f"{found}; end it (`everloop watch` or `everloop up`), or let it do this"
            )
        if not waited:
            tell(f"{found}; waiting {LEASE_LENGTH_S:g} s for it")
        waited += _LOOK_S


def _is_locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _place(lock: int, path: Path) -> str:
    """Read the name that the first controller here gave this directory."""
    name = path.read_text(encoding="ascii")
    if len(name) != len(uuid.uuid4().hex):
        name = uuid.uuid4().hex
        os.ftruncate(lock, 0)
        os.pwrite(lock, name.encode(), 0)
    return name
