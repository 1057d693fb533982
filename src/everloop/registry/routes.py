"""Routes: one small numbered record that says what replicas serve; all a replica has to read."""

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, JsonValue, ValidationError

from everloop.spec.errors import CorruptError
from everloop.spec.record import Record
from everloop.store.log import Entry, Log
from everloop.store.objects import Objects

_TOLERANCE = 1e-9


class RouteTarget(Record):
    """One version that is served.

    Attributes:
        version: Its number.
        bundle: Its digest.
        share: Of the requests that get its answer; a shadow's share is what it is shown.
        role: ``live`` answers; ``shadow`` only computes beside it.
    """

    version: Annotated[int, Field(ge=1)]
    bundle: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    share: Annotated[float, Field(ge=0, le=1)] = 1.0
    role: Literal["live", "shadow"] = "live"


class Route(Record):
    """What is served from one moment on.

    Attributes:
        number: Counted from 1; a higher one is newer.
        live: The versions; the shares of the live ones add up to 1.
        reason: Why.
        at: ISO 8601 UTC.
    """

    number: int
    live: tuple[RouteTarget, ...]
    reason: str
    at: str


class Routes:
    """A model's routes."""

    def __init__(self, objects: Objects, model: str) -> None:
        self._log = Log(objects, f"routes/{model}")

    def current(self) -> Route | None:
        """Return the newest route, None before the first; costs one probe once it was read.

        Raises:
            CorruptError: If it is damaged, or not chained to the one before.
            UnavailableError: If the store does not answer.
        """
        entry = self._log.last()
        return None if entry is None else _as_route(entry)

    def publish(
        self, live: Sequence[RouteTarget], *, reason: str, expect: int | None = None
    ) -> Route:
        """Make replicas serve these versions.

        Args:
            live: At least one with the role ``live``; their shares add up to 1. Without any target
                replicas stop answering.
            reason: Why; kept for ever.
            expect: The number of the newest route that the caller knows (0 for none).

        Raises:
            ValueError: If the shares do not add up, or a version is named twice.
            ConflictError: If there was another route since `expect`.
        """
        _check_targets(live)
        targets = [target.model_dump(mode="json") for target in live]
        record: dict[str, JsonValue] = {"live": [*targets], "reason": reason}
        return _as_route(self._log.append(record, expect=expect))

    def history(self) -> list[Route]:
        """Return all routes, oldest first.

        Raises:
            CorruptError: If an entry is missing, damaged, or not chained to the one before.
        """
        return [_as_route(entry) for entry in self._log.entries()]


def _check_targets(live: Sequence[RouteTarget]) -> None:
    shares = [target.share for target in live if target.role == "live"]
    if live and not math.isclose(math.fsum(shares), 1.0, abs_tol=_TOLERANCE):
        raise ValueError(
            f"the shares of the live versions add up to {math.fsum(shares):g}, expected 1"
        )
    numbers = [target.version for target in live]
    if len(set(numbers)) != len(numbers):
        raise ValueError(f"a version is named twice: {', '.join(map(str, numbers))}")


def _as_route(entry: Entry) -> Route:
    try:
        return Route.model_validate({"number": entry.number, "at": entry.at, **entry.record})
    except ValidationError as error:
        raise CorruptError(f"route {entry.number}: {error}; publish a new one") from error
