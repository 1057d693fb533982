"""From a checked request to its answer: batches, the model call, the spool, then the answer."""

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, Final

from everloop.serve.events import EventLog
from everloop.serve.http.messages import Refused, Reply
from everloop.serve.inputs import Rows
from everloop.serve.metrics import Metrics
from everloop.serve.model import Model, ModelFailedError, Outcome
from everloop.serve.spool import PredictionLine, Spool
from everloop.spec.errors import DataError

Encode = Callable[[Model, str, list[Any]], bytes]

_ID_BYTES: Final = 16
_IDS_AT_ONCE: Final = 256
_TOO_LATE = Refused(503, "the request waited too long; retry later", retry_after_s=1)
_FAILED = Refused(500, "the model failed on this request")


class IdSource:
    """Ids that nobody can guess; random bytes are fetched for many at a time."""

    def __init__(self) -> None:
        self._ready: list[str] = []

    def next(self) -> str:
        """Return 32 hexadecimal digits."""
        if not self._ready:
            text = os.urandom(_ID_BYTES * _IDS_AT_ONCE).hex()
            width = 2 * _ID_BYTES
            self._ready = [text[i : i + width] for i in range(0, len(text), width)]
        return self._ready.pop()


class InferenceQuery:
    """One request on its way through the batcher; it is answered exactly once."""

    __slots__ = (
        "encode",
        "id",
        "model",
        "num_rows",
        "protocol",
        "queued_at",
        "reply",
        "rows",
        "tell",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - a plain record on the hot path
        self,
        request_id: str,
        model: Model,
        rows: Rows,
        reply: Reply,
        protocol: str,
        encode: Encode,
        tell: Callable[["InferenceQuery", Refused], None],
    ) -> None:
        self.id = request_id
        self.model = model
        self.rows = rows
        self.num_rows = rows.num_rows
        self.reply = reply
        self.protocol = protocol
        self.encode = encode
        self.tell = tell
        self.queued_at = 0.0

    @property
    def is_abandoned(self) -> bool:
        """Whether the client has gone."""
        return self.reply.is_closed

    def expire(self) -> None:
        """Answer that it waited too long; it was never computed."""
        self.tell(self, _TOO_LATE)


class Inference:
    """Runs batches, logs them to the spool, answers."""

    def __init__(
        self, spool: Spool, metrics: Metrics, events: EventLog, executor: Executor
    ) -> None:
        self._spool = spool
        self._metrics = metrics
        self._events = events
        self._executor = executor
        self._queue_s = metrics.duration.at("queue")
        self._compute_s = metrics.duration.at("compute")
        self._batch_size = metrics.batch.at()
        self.release: Callable[[], None] = lambda: None

    def run(self, batch: list[InferenceQuery]) -> bool:
        """Run one batch; True if it is done, False if a thread still works on it.

        In the latter case `release` is called once it is done.
        """
        model = batch[0].model
        rows = [query.rows for query in batch]
        num_rows = sum(query.num_rows for query in batch)
        start = time.monotonic()
        for query in batch:
            self._queue_s.observe(start - query.queued_at)
        self._batch_size.observe(num_rows)
        if model.is_inline(num_rows):
            self._finish(batch, self._predict(model, rows), start)
            return True
        future = asyncio.get_running_loop().run_in_executor(
            self._executor, self._predict, model, rows
        )
        future.add_done_callback(lambda done: self._finish_later(batch, done, start))
        return False

    def _predict(self, model: Model, rows: list[Rows]) -> list[Outcome] | Exception:
        try:
            return model.predict(rows)
        except Exception as error:  # noqa: BLE001 - the runtime's errors have no common root but this
            return error

    def _finish_later(
        self,
        batch: list[InferenceQuery],
        done: "asyncio.Future[list[Outcome] | Exception]",
        start: float,
    ) -> None:
        if not done.cancelled():  # which happens at the very end of a drain only
            self._finish(batch, done.result(), start)
        self.release()

    def _finish(
        self, batch: list[InferenceQuery], outcomes: list[Outcome] | Exception, start: float
    ) -> None:
        self._compute_s.observe(time.monotonic() - start)
        if isinstance(outcomes, Exception):
            self._events.write("error", "model-failed", "a model call failed", error=outcomes)
            for query in batch:
                self.refuse(query, _FAILED)
            return
        good = []
        for query, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, DataError):
                self.refuse(query, Refused(400, str(outcome)))
            elif isinstance(outcome, ModelFailedError):
                self._events.write("error", "model-failed", "an answer failed", error=outcome)
                self.refuse(query, _FAILED)
            else:
                good.append((query, outcome))
        if good:
            self._log(good)
            self._answer(good)

    def _log(self, good: list[tuple[InferenceQuery, list[Any]]]) -> None:
        now_us = self._spool.now_us()
        lines = [self._spool.line(_line(query, found, now_us)) for query, found in good]
        failure = self._spool.add_predictions(lines)
        if failure is not None:
            num_rows = sum(query.num_rows for query, _ in good)
            self._metrics.unlogged.at(failure).value += num_rows

    def _answer(self, good: list[tuple[InferenceQuery, list[Any]]]) -> None:
        for query, found in good:
            self._count(query, "200")
            self._metrics.rows.at(str(query.model.version)).value += query.num_rows
            query.reply.respond(200, query.encode(query.model, query.id, found))

    def refuse(self, query: InferenceQuery, refused: Refused) -> None:
        """Answer a queued request with a refusal."""
        self._count(query, str(refused.status))
        query.reply.respond(refused.status, refused.body, headers=refused.headers)

    def _count(self, query: InferenceQuery, code: str) -> None:
        model = query.model
        self._metrics.requests.at(
            model.manifest.name, str(model.version), query.protocol, code
        ).value += 1


def _line(query: InferenceQuery, predictions: list[Any], now_us: int) -> PredictionLine:
    columns, kinds = query.rows.columns, query.model.form.by_kind
    clock, logged = query.model.form.time_column, query.rows.logged
    return PredictionLine(
        query.id,
        now_us,
        query.model.version,
        query.num_rows,
        predictions,
        clock,
        {name: columns[name] for name in kinds["number"]},
        {name: columns[name] for name in kinds["category"]},
        {name: columns[name] for name in kinds["time"]},
        {name: values for name, values in logged.items() if name != clock},
        {name: values for name, values in logged.items() if name == clock},
    )
