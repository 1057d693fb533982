"""The tick batcher: what arrived in one turn of the event loop is one model call.

Pure logic: the clock, the event loop and the model are arguments, so a test waits for nothing.
"""

from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from everloop.serve.http.messages import Refused


class Query(Protocol):
    """What the batcher looks at.

    Attributes:
        model: Queries of different models never share a batch.
        num_rows: Of this query.
        queued_at: When it came, by the batcher's clock.
        is_abandoned: Whether the client has gone.
    """

    num_rows: int
    queued_at: float

    @property
    def model(self) -> object:
        """The model that the query was checked against."""

    @property
    def is_abandoned(self) -> bool:
        """Whether the client has gone."""

    def expire(self) -> None:
        """Answer that it waited too long."""


Q = TypeVar("Q", bound=Query)


class Batcher(Generic[Q]):
    """Queues queries and runs them in batches, one at a time, in order of arrival.

    Args:
        run: Runs a batch; returns False if it is not done yet, in which case `release` is called
            once it is.
        max_rows: Of one batch; no query has more.
        max_queue_rows: Rows that may wait.
        max_wait_s: How long the first query of a batch waits for company; 0 takes what is there
            at the end of the event loop's turn.
        timeout_s: A query that waited longer is expired and never computed.
        clock: In seconds.
        call_soon: Runs a function at the end of this turn.
        call_later: Runs a function after so many seconds.
    """

    def __init__(  # noqa: PLR0913 - all keyword-only, each an injected edge
        self,
        run: Callable[[list[Q]], bool],
        *,
        max_rows: int,
        max_queue_rows: int,
        max_wait_s: float,
        timeout_s: float,
        clock: Callable[[], float],
        call_soon: Callable[[Callable[[], None]], object],
        call_later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self._run = run
        self._max_rows = max_rows
        self._max_queue_rows = max_queue_rows
        self._max_wait_s = max_wait_s
        self._timeout_s = timeout_s
        self._clock = clock
        self._call_soon = call_soon
        self._call_later = call_later
        self._queue: deque[Q] = deque()
        self._is_busy = False
        self._is_due = False
        self._is_waiting = False
        self.num_rows = 0

    def add(self, query: Q) -> None:
        """Queue a query.

        Raises:
            Refused: With 503, if too many rows wait.
        """
        if self.num_rows + query.num_rows > self._max_queue_rows:
            raise Refused(503, "too many rows are waiting; retry later", retry_after_s=1)
        query.queued_at = self._clock()
        self._queue.append(query)
        self.num_rows += query.num_rows
        self._schedule()

    def release(self) -> None:
        """Say that the batch that was not done at once is done now."""
        self._is_busy = False
        self._schedule()

    def _schedule(self) -> None:
        if self._is_busy or self._is_due or not self._queue:
            return
        if self._max_wait_s <= 0 or self.num_rows >= self._max_rows:
            self._is_due = True
            self._call_soon(self._tick)
        elif not self._is_waiting:
            # Rows left behind by a batch start their wait anew: it costs them one wait at most.
            self._is_waiting = True
            self._call_later(self._max_wait_s, self._wait_over)

    def _wait_over(self) -> None:
        self._is_waiting = False
        if not self._is_busy and not self._is_due:
            self._tick()

    def _tick(self) -> None:
        self._is_due = False
        batch = self._take()
        if batch:
            self._is_busy = True
            self._is_busy = not self._run(batch)
        # One batch a turn, so that a long queue does not keep the loop from its sockets.
        self._schedule()

    def _take(self) -> list[Q]:
        batch: list[Q] = []
        oldest = self._clock() - self._timeout_s
        room = self._max_rows
        while self._queue:
            query = self._queue[0]
            is_dead = query.is_abandoned or query.queued_at < oldest
            if not is_dead and (
                query.num_rows > room or (batch and query.model is not batch[0].model)
            ):
                break
            self._queue.popleft()
            self.num_rows -= query.num_rows
            if is_dead:
                query.expire()
            else:
                batch.append(query)
                room -= query.num_rows
        return batch

    def sweep(self) -> None:
        """Expire what has waited too long while a slow batch keeps the model busy."""
        oldest = self._clock() - self._timeout_s
        while self._queue and self._queue[0].queued_at < oldest:
            query = self._queue.popleft()
            self.num_rows -= query.num_rows
            query.expire()
