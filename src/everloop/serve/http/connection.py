"""One client's connection: bytes in, requests to the handler one at a time, answers in order."""

import asyncio
import math
from collections import deque
from typing import Protocol, cast

import httptools

from everloop.serve.http.hosts import Hosts
from everloop.serve.http.limits import Limits
from everloop.serve.http.messages import JSON, Handler, Refused, Request, status_line

_SEEN_HEADERS = frozenset(
    {b"host", b"origin", b"content-encoding", b"inference-header-content-length"}
)
_IDLE, _HEAD, _BODY = range(3)


class Owner(Protocol):
    """What a connection needs of its listener.

    Attributes:
        now: A coarse monotonic clock in seconds, so that no request pays for reading a fine one.
        date: The Date header's line.
        is_draining: Whether every answer is the connection's last.
    """

    handler: Handler
    limits: Limits
    hosts: Hosts
    now: float
    date: bytes
    is_draining: bool

    def opened(self, connection: "Connection") -> bool:
        """Count a new connection; False if there are too many."""

    def closed(self, connection: "Connection") -> None:
        """Forget a connection."""

    def failed(self, error: Exception) -> None:
        """Log a handler's bug."""


class Connection(asyncio.Protocol):
    """Parses requests and hands them over one at a time, so that pipelined answers keep order."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._limits = owner.limits
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Request] = deque()
        self._current: Request | None = None
        self._is_pumping = False
        self._is_paused = False
        self._is_finished = False
        self._stopped_reading = False
        self._phase = _IDLE
        self.is_closed = False
        self.deadline = owner.now + owner.limits.header_timeout_s
        self._start_message()

    def _start_message(self) -> None:
        self._target = b""
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._num_headers = 0
        self._header_bytes = 0
        self._hosts = 0
        self._has_expect = False
        self._headers: dict[bytes, bytes] = {}

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport, or refuse the client if there are too many."""
        # uvloop's transports have the methods but not the base class.
        self._transport = cast("asyncio.Transport", transport)
        if not self._owner.opened(self):
            self._refuse(Refused(503, "too many connections; retry later", retry_after_s=1))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what still waits."""
        del exc
        self.is_closed = True
        self._waiting.clear()
        self._owner.closed(self)

    def data_received(self, data: bytes) -> None:
        """Parse what came; what follows a refusal is read and dropped."""
        if self._stopped_reading:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # The request itself was handed over; what would follow is another protocol.
            self._stop_reading()
        except httptools.HttpParserCallbackError as error:
            if not isinstance(error.__context__, Refused):
                raise
            self._refuse(error.__context__)
        except httptools.HttpParserError as error:
            self._refuse(Refused(400, f"malformed HTTP: {error}"))

    def eof_received(self) -> bool:
        """Keep the connection for the answers that are still due."""
        self._stop_reading()
        return self._current is not None

    def pause_writing(self) -> None:
        """Read no more of a client that does not read its answers."""
        self.deadline = self._owner.now + self._limits.body_timeout_s
        self._pause()

    def resume_writing(self) -> None:
        """Go on once the client has read."""
        self._set_deadline()
        if not self._waiting:
            self._resume()

    def _pause(self) -> None:
        if self._transport is not None and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._transport is not None and self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Start the clock of the headers."""
        self._phase = _HEAD
        self.deadline = self._owner.now + self._limits.header_timeout_s

    def on_url(self, url: bytes) -> None:
        """Collect the request target, which may come in parts."""
        self._target += url
        self._count_header_bytes(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count and keep one header, or a trailer, which only counts."""
        self._num_headers += 1
        if self._num_headers > self._limits.max_headers:
            raise Refused(431, f"more than {self._limits.max_headers} headers")
        self._count_header_bytes(len(name) + len(value))
        if self._phase != _HEAD:
            return
        lower = name.lower()
        if lower == b"host":
            self._hosts += 1
        elif lower == b"expect":
            self._has_expect = True
        if lower in _SEEN_HEADERS:
            self._headers[lower] = value
        elif lower == b"content-length" and int(value) > self._limits.max_body_bytes:
            raise self._too_large()

    def _count_header_bytes(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > self._limits.max_header_bytes:
            raise Refused(431, f"headers of more than {self._limits.max_header_bytes} bytes")

    def on_headers_complete(self) -> None:
        """Check what the parser is too lenient about."""
        version = self._parser.get_http_version()
        if version not in {"1.1", "1.0"}:
            raise Refused(505, "only versions 1.0 and 1.1 of the protocol are spoken")
        if self._hosts > 1 or (version == "1.1" and self._hosts == 0):
            raise Refused(400, f"expected one Host header, found {self._hosts}")
        self._owner.hosts.check(self._parser.get_method(), self._headers)
        self._phase = _BODY
        self.deadline = self._owner.now + self._limits.body_timeout_s
        if self._has_expect and self._transport is not None and self._current is None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Collect a part of the body."""
        self._body_bytes += len(body)
        if self._body_bytes > self._limits.max_body_bytes:
            raise self._too_large()
        self._body.append(body)

    def _too_large(self) -> Refused:
        return Refused(413, f"the body is larger than {self._limits.max_body_bytes} bytes")

    def on_message_complete(self) -> None:
        """Hand the request over, or let it wait for the one before."""
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        request = Request(self._parser.get_method(), self._target, body)
        request.headers = self._headers
        request.is_last = not self._parser.should_keep_alive()
        request.is_old = self._parser.get_http_version() == "1.0"
        self._start_message()
        self._phase = _IDLE
        self._enqueue(request)

    # Requests one at a time.

    def _enqueue(self, request: Request) -> None:
        self._waiting.append(request)
        self._pump()
        if self._waiting:
            self._pause()
        self._set_deadline()

    def _pump(self) -> None:
        # A loop and not a recursion: thousands of pipelined requests may be answered at once.
        if self._is_pumping:
            return
        self._is_pumping = True
        while self._waiting and self._current is None and not self.is_closed:
            self._current = request = self._waiting.popleft()
            self._handle(request)
        self._is_pumping = False

    def _handle(self, request: Request) -> None:
        if request.refusal is not None:
            self._respond_refused(request.refusal)
            return
        try:
            self._owner.handler(request, self)
        except Refused as refused:
            self._respond_refused(refused)
        except Exception as error:  # noqa: BLE001 - one request's bug must not end the others
            self._owner.failed(error)
            self.respond(500, b'{"error":"internal failure"}')

    def _respond_refused(self, refused: Refused) -> None:
        self.respond(refused.status, refused.body, JSON, refused.headers)

    def respond(
        self, status: int, body: bytes, content_type: bytes = JSON, headers: bytes = b""
    ) -> None:
        """Send the answer to the request in hand, then take the next one."""
        request, self._current = self._current, None
        if request is None or self.is_closed or self._transport is None:
            return
        is_last = request.is_last or self._owner.is_draining or request.refusal is not None
        if is_last:
            headers += b"Connection: close\r\n"
        elif request.is_old:
            headers += b"Connection: keep-alive\r\n"
        self._transport.write(
            b"%s%sContent-Type: %s\r\n%sContent-Length: %d\r\n\r\n%s"
            % (status_line(status), self._owner.date, content_type, headers, len(body), body)
        )
        if is_last:
            self._finish(is_refused=request.refusal is not None)
            return
        self._after_answer()

    def _after_answer(self) -> None:
        if self._waiting:
            self._pump()
        self._set_deadline()
        if self._current is not None or self._waiting or self._is_finished:
            return
        if self._stopped_reading:
            self.close()
        elif self._is_paused:
            self._resume()

    # Ends.

    def _refuse(self, refused: Refused) -> None:
        request = Request(b"", b"")
        request.refusal = refused
        self._stopped_reading = True
        self._phase = _IDLE
        self._enqueue(request)

    def _finish(self, *, is_refused: bool) -> None:
        # A client that is still sending would see a reset and lose the refusal if the socket
        # were closed at once; so its bytes are read and dropped for a while.
        assert self._transport is not None
        self._stopped_reading = self._is_finished = True
        self._waiting.clear()
        if is_refused and self._transport.can_write_eof():
            self._resume()
            self._transport.write_eof()
            self.deadline = self._owner.now + self._limits.linger_s
        else:
            self._transport.close()

    def _stop_reading(self) -> None:
        self._stopped_reading = True
        if self._current is None and not self._waiting and self._transport is not None:
            self._transport.close()

    def _set_deadline(self) -> None:
        if self._phase != _IDLE or (self._stopped_reading and self._current is None):
            return
        busy = self._current is not None
        self.deadline = math.inf if busy else self._owner.now + self._limits.idle_timeout_s

    def is_idle(self) -> bool:
        """Whether nothing is in hand and nothing has begun to arrive."""
        return self._current is None and not self._waiting and self._phase == _IDLE

    def close(self) -> None:
        """Close after what was written has left."""
        if self._transport is not None:
            self._transport.close()

    def expire(self) -> None:
        """End a connection whose deadline is over: tell a slow sender, cut everyone else."""
        if self._phase != _IDLE and self._current is None and not self._stopped_reading:
            self._refuse(Refused(408, "the request took too long to arrive"))
        elif self._transport is not None:
            self._transport.abort()
