"""Time as an argument: what waits or looks at a clock takes one, so that a test need not wait."""

import threading
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What everloop asks of time."""

    def now(self) -> datetime:
        """Return the wall time, in UTC."""

    def monotonic(self) -> float:
        """Return seconds that only ever rise."""

    def wait(self, seconds: float) -> bool:
        """Wait; return True as soon as a stop was asked for."""


class SystemClock:
    """The machine's own clock; `stop` ends every wait on it."""

    def __init__(self) -> None:
        self._stopped = threading.Event()

    def now(self) -> datetime:
        """Return the wall time, in UTC."""
        return datetime.now(tz=UTC)

    def monotonic(self) -> float:
        """Return seconds that only ever rise."""
        return time.monotonic()

    def wait(self, seconds: float) -> bool:
        """Wait; return True as soon as a stop was asked for."""
        return self._stopped.wait(seconds)

    def stop(self) -> None:
        """End this wait and all later ones at once; safe in a signal handler."""
        self._stopped.set()
