import asyncio
import io
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from everloop.serve.events import EventLog
from everloop.serve.http.messages import JSON
from everloop.serve.inference import Inference, InferenceQuery
from everloop.serve.inputs import Rows
from everloop.serve.metrics import Metrics
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
