"""Services as supervised processes of this machine: started, restarted, ended together."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from everloop.runtime.clock import Clock

USAGE_EXIT = 2
_FIRST_BACKOFF_S, _MAX_BACKOFF_S, _STEADY_S = 0.2, 10.0, 30.0
_LOOK_S = 0.1
_PARENT = "EVERLOOP_PARENT"


@dataclass(frozen=True, kw_only=True)
class Service:
    """One process to keep alive.

    Attributes:
        name: For people.
        command: Program and arguments; never a shell string.
    """

    name: str
    command: Sequence[str]


@dataclass
class _Process:
    service: Service
    popen: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    restart_at: float = 0.0
    backoff_s: float = _FIRST_BACKOFF_S


class Supervisor:
    """Keeps services running until a stop; see `run`."""

    def __init__(
        self,
        services: Sequence[Service],
        clock: Clock,
        tell: Callable[[str], None],
        *,
        drain_s: float = 30.0,
    ) -> None:
        """Prepare.

        Args:
            services: Started in this order and ended in the reverse.
            clock: Its `wait` returns True once a stop is asked for.
            tell: Told, in a sentence, of deaths and restarts.
            drain_s: How long a service may take to end before it is killed.
        """
        self._processes = [_Process(service) for service in services]
        self._clock = clock
        self._tell = tell
        self._drain_s = drain_s

    @property
    def pids(self) -> dict[str, int]:
        """Name to process number of what runs now."""
        return {p.service.name: p.popen.pid for p in self._processes if p.popen is not None}

    def run(self) -> int:
        """Keep the services alive until the clock's wait says stop; return an exit code.

        A service that ends because its settings are wrong (exit code 2) will not do better the next
        time: everything is ended and 2 returned.
        """
        try:
            while True:
                for process in self._processes:
                    if self._look_after(process) == USAGE_EXIT:
                        self._tell(
                            f"{process.service.name} cannot run with these settings; stopping"
                        )
                        return USAGE_EXIT
                if self._clock.wait(_LOOK_S):
                    return 0
        finally:
            self.stop()

    def _look_after(self, process: _Process) -> int | None:
        now = self._clock.monotonic()
        if process.popen is None:
            if now >= process.restart_at:
                self._start(process, now)
            return None
        code = process.popen.poll()
        if code is None:
            if now - process.started_at > _STEADY_S:
                process.backoff_s = _FIRST_BACKOFF_S
            return None
        process.popen = None
        process.restart_at = now + process.backoff_s
        self._tell(
            f"{process.service.name} ended with {_reason(code)}; "
            f"starting it again in {process.backoff_s:.1f} s"
        )
        process.backoff_s = min(process.backoff_s * 2, _MAX_BACKOFF_S)
        return code

    def _start(self, process: _Process, now: float) -> None:
        process.started_at = now
        # A session of its own keeps the terminal's Ctrl-C away from it: the supervisor ends
        # services in order.
        process.popen = subprocess.Popen(  # noqa: S603 - a list of our own making
            list(process.service.command),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, _PARENT: str(os.getpid())},
        )

    def stop(self) -> None:
        """End every service, the last started first; kill what does not end in time."""
        for process in reversed(self._processes):
            if process.popen is None:
                continue
            process.popen.terminate()
            try:
                process.popen.wait(timeout=self._drain_s)
            except subprocess.TimeoutExpired:
                self._tell(f"{process.service.name} did not end in {self._drain_s:g} s; killing it")
                process.popen.kill()
                process.popen.wait()
            process.popen = None


def _reason(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def end_with_parent() -> None:
    """End this process when its supervisor is gone, however that died; does nothing without one."""
    # Taken out, so that what this process starts does not take it for its own.
    parent = os.environ.pop(_PARENT, None)
    if parent is None:
        return

    def watch() -> None:
        look = threading.Event()
        while not look.wait(0.5):
            if os.getppid() != int(parent):
                os.kill(os.getpid(), signal.SIGTERM)
                return

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
