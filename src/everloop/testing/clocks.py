"""A clock that stands still until it is told."""

from datetime import UTC, datetime, timedelta


class ManualClock:
    """Time as a test sets it; to wait on it takes no time, and moves it on."""

    def __init__(self, now: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._start = self._now = now
        self._is_stopped = False

    def now(self) -> datetime:
        """Return the time that was set."""
        return self._now

    def monotonic(self) -> float:
        """Return the seconds since the clock was made."""
        return (self._now - self._start).total_seconds()

    def wait(self, seconds: float) -> bool:
        """Move on; return True once a stop was asked for."""
        self.move(timedelta(seconds=seconds))
        return self._is_stopped

    def move(self, length: timedelta) -> None:
        """Move on."""
        self._now += length

    def stop(self) -> None:
        """End every later wait."""
        self._is_stopped = True
