import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from everloop.serve.http.hosts import Hosts
from everloop.serve.http.limits import Limits
from everloop.serve.http.listener import Listener
from everloop.serve.http.messages import Reply, Request
from everloop.spec.errors import UnavailableError

LIMITS = Limits(sweep_s=3600.0)
OK = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


Scene = Callable[[Listener, Clock, int], Awaitable[None]]


def answer(_: Request, reply: Reply) -> None:
    reply.respond(200, b"{}")


def play(scene: Scene, limits: Limits = LIMITS, failures: list[Exception] | None = None) -> None:
    async def run() -> None:
        clock = Clock()
        found: list[Exception] = [] if failures is None else failures
        listener = Listener(answer, limits, Hosts(), clock=clock, on_failure=found.append)
        port = await listener.start("127.0.0.1", 0)
        try:
            await asyncio.wait_for(scene(listener, clock, port), 10)
        finally:
            listener.close()

    asyncio.run(run())


async def after(listener: Listener, clock: Clock, now: float, num_open: int = 1) -> None:
    for _ in range(200):  # turns of the loop, so that what was sent has arrived
        await asyncio.sleep(0)
    assert len(listener.connections) == num_open
    clock.now = now
    listener.sweep()


@pytest.mark.parametrize(
    ("sent", "patience"),
    [
        (b"", 10.0),
        (b"GET / HTTP/1.1\r\nHo", 10.0),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{", 30.0),
    ],
)
def test_a_slow_sender_is_ended_when_its_time_is_over(sent: bytes, patience: float) -> None:
    async def scene(listener: Listener, clock: Clock, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        await after(listener, clock, patience - 0.1)
        assert listener.connections
        await after(listener, clock, patience + 0.1)
        told = await reader.read()
        assert told.startswith(b"HTTP/1.1 408 ") if sent else told == b""
        writer.close()

    play(scene)


def test_an_idle_connection_is_closed_after_a_minute() -> None:
    async def scene(listener: Listener, clock: Clock, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(OK)
        await reader.readuntil(b"{}")
        await after(listener, clock, 59.0)
        assert listener.connections
        await after(listener, clock, 61.0)
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()

    play(scene)


def test_one_connection_too_many_is_told_so() -> None:
    async def scene(_: Listener, __: Clock, port: int) -> None:
        first = await asyncio.open_connection("127.0.0.1", port)
        first[1].write(OK)
        await first[0].readuntil(b"{}")
        second = await asyncio.open_connection("127.0.0.1", port)
        told = await second[0].read()
        assert told.startswith(b"HTTP/1.1 503 ")
        first[1].close()
        second[1].close()

    play(scene, replace(LIMITS, max_connections=1))


def test_a_bug_in_a_handler_is_a_500_without_its_text() -> None:
    failures: list[Exception] = []

    def fail(_: Request, __: Reply) -> None:
        raise RuntimeError("/secret/path")

    async def scene(listener: Listener, _: Clock, port: int) -> None:
        listener.handler = fail
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(OK)
        assert (await reader.readuntil(b"}")).endswith(b'{"error":"internal failure"}')
        listener.handler = answer
        writer.write(OK)
        await reader.readuntil(b"{}")
        writer.close()

    play(scene, failures=failures)
    assert [str(error) for error in failures] == ["/secret/path"]


def test_a_taken_port_is_named_with_what_to_do() -> None:
    async def scene(_: Listener, clock: Clock, port: int) -> None:
        other = Listener(answer, LIMITS, Hosts(), clock=clock, on_failure=lambda _: None)
        with pytest.raises(UnavailableError, match=rf"serve.port: {port} .* is taken .* set"):
            await other.start("127.0.0.1", port)

    play(scene)
