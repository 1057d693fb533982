"""What a replica tells its operator: an event is a JSON line in Elastic Common Schema.

On a terminal it is a short line for people, unless ``EVERLOOP_LOG`` is ``json``.
"""

import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal, TextIO

import msgspec

Level = Literal["info", "warning", "error"]
_ECS_VERSION = "1.6.0"


class EventLog:
    """Writes event lines; no request is logged, only what changes the replica."""

    def __init__(
        self,
        model: str,
        *,
        stream: TextIO | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._model = model
        self._stream = stream or sys.stderr
        self._now = now
        self._is_plain = self._stream.isatty() and os.environ.get("EVERLOOP_LOG") != "json"

    def write(
        self,
        level: Level,
        action: str,
        message: str,
        *,
        error: Exception | None = None,
        **labels: str,
    ) -> None:
        """Write one event.

        Args:
            level: How bad it is.
            action: The event's name, such as ``model-swapped``.
            message: A sentence for people.
            error: What went wrong; its text stands in the line.
            labels: Flat facts.
        """
        if self._is_plain:
            self._put(f"serve: {message}" if error is None else f"serve: {message}: {error}")
            return
        line: dict[str, object] = {
            "@timestamp": self._now().strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z",
            "log.level": level,
            "message": message,
            "ecs.version": _ECS_VERSION,
            "event.dataset": "everloop.serve",
            "event.action": action,
            "event.outcome": "success" if level == "info" else "failure",
            "service.name": "everloop",
            "process.pid": os.getpid(),
            "labels": {"model": self._model, **labels},
        }
        if error is not None:
            line["error.type"] = type(error).__name__
            line["error.message"] = str(error)
        self._put(msgspec.json.encode(line).decode())

    def _put(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()
