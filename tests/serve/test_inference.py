import asyncio
import io
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from everloop.rows.replica import Tensors
from everloop.serve.events import EventLog
from everloop.serve.http.messages import JSON
from everloop.serve.inference import Inference, InferenceQuery
from everloop.serve.inputs import Rows
from everloop.serve.metrics import Metrics
from everloop.serve.model import Model, ModelFailedError
from everloop.serve.spool import Spool


class Reply:
    is_closed = False

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.status = 0
        self.body = b""
        self.spooled = 0

    def respond(
        self, status: int, body: bytes, content_type: bytes = JSON, headers: bytes = b""
    ) -> None:
        del content_type, headers
        self.status, self.body, self.spooled = status, body, self.spool.size_bytes


class Slow:
    """Wraps a model so that it runs in a thread, and can be made to fail."""

    def __init__(self, model: Any, *, fails: bool = False) -> None:
        self.manifest, self.form, self.version = model.manifest, model.form, model.version
        self.model, self.fails = model, fails
        self.threads: set[str] = set()

    def is_inline(self, _: int) -> bool:
        return False

    def predict(self, batch: list[Rows]) -> Any:
        self.threads.add(threading.current_thread().name)
        if self.fails:
            raise RuntimeError("/internal/path")
        return self.model.predict(batch)


def run(model: Any, spool: Spool, stream: io.StringIO) -> list[Reply]:
    async def play() -> list[Reply]:
        executor = ThreadPoolExecutor(1, thread_name_prefix="model")
        inference = Inference(spool, Metrics(), EventLog("m", stream=stream), executor)
        released = asyncio.Event()
        inference.release = released.set
        replies = [Reply(spool) for _ in range(2)]
        batch = [
            InferenceQuery(
                "q",
                model,
                Rows(1, {"distance": [1.0], "carrier": ["AA"]}, {}),
                reply,
                "rows",
                lambda _, __, found: str(found).encode(),
                inference.refuse,
            )
            for reply in replies
        ]
        assert inference.run(batch) is False
        await asyncio.wait_for(released.wait(), 10)
        executor.shutdown()
        return replies

    return asyncio.run(play())


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "s", "r", max_bytes=1 << 20, now_us=lambda: 0)


def test_a_slow_model_runs_in_its_thread_and_is_spooled_before_it_answers(
    app: Any, spool: Spool
) -> None:
    slow = Slow(app.app.model)
    replies = run(slow, spool, io.StringIO())
    assert [(reply.status, reply.body) for reply in replies] == [(200, b"[1001.0]")] * 2
    assert all(reply.spooled > 0 for reply in replies)
    assert slow.threads == {"model_0"}


def test_a_model_that_fails_is_a_500_that_names_nothing_and_an_event_that_does(
    app: Any, spool: Spool
) -> None:
    stream = io.StringIO()
    replies = run(Slow(app.app.model, fails=True), spool, stream)
    assert {reply.status for reply in replies} == {500}
    assert b"/internal" not in replies[0].body
    assert "/internal/path" in stream.getvalue()
    assert replies[0].spooled == 0


class NotANumber:
    """Scores with NaN where a row's number is negative."""

    def run(self, tensors: Tensors) -> Any:
        return np.where(tensors["distance"] < 0, np.nan, np.float32(0.5))


def test_an_answer_that_is_no_number_fails_its_own_request_alone(app: Any) -> None:
    loaded = app.app.model
    model = Model(loaded.manifest, loaded.digest, 1, NotANumber(), max_rows=8)
    good, bad = (Rows(1, {"distance": [n], "carrier": ["AA"]}, {}) for n in (1.0, -1.0))
    found = model.predict([good, bad, good])
    assert [found[0], found[2]] == [[0.5], [0.5]]
    assert isinstance(found[1], ModelFailedError)
    assert isinstance(model.predict([bad])[0], ModelFailedError)


class SecondIsNotANumber:
    def run(self, _: Tensors) -> Any:
        return np.array([0.5, np.nan])


def test_an_answer_that_is_no_number_is_a_500_that_is_not_logged(app: Any, spool: Spool) -> None:
    loaded, stream = app.app.model, io.StringIO()
    model = Model(loaded.manifest, loaded.digest, 1, SecondIsNotANumber(), max_rows=8)
    replies = run(Slow(model), spool, stream)
    assert [reply.status for reply in replies] == [200, 500]
    assert replies[1].body == b'{"error":"the model failed on this request"}'
    assert stream.getvalue().count('"event.action":"model-failed"') == 1
