"""Requests and answers as the handlers see them."""

from collections.abc import Callable
from typing import Protocol

import msgspec

from everloop.spec.errors import EverloopError

JSON = b"application/json"
TEXT = b"text/plain; version=0.0.4; charset=utf-8"

_REASONS = {
    100: b"Continue",
    200: b"OK",
    202: b"Accepted",
    400: b"Bad Request",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    413: b"Content Too Large",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    503: b"Service Unavailable",
    505: b"HTTP Version Not Supported",
}


class Refused(EverloopError):  # noqa: N818 - a refusal is an answer, not a failure
    """A request that is not served; the text is for the client and names nothing internal."""

    def __init__(self, status: int, text: str, *, retry_after_s: int | None = None) -> None:
        self.status = status
        self.text = text
        self.retry_after_s = retry_after_s
        super().__init__(text)

    @property
    def headers(self) -> bytes:
        """Extra header lines of the answer."""
        return b"" if self.retry_after_s is None else b"Retry-After: %d\r\n" % self.retry_after_s

    @property
    def body(self) -> bytes:
        """The answer's body, as the Open Inference Protocol asks for it."""
        return error_body(self.text)


class Request:
    """One request, read whole.

    Attributes:
        method: As sent, such as ``b"POST"``.
        target: Path and query as sent, not decoded.
        body: The content; empty if there is none.
        headers: The few headers that a handler may look at, by lower-case name.
        is_last: Whether the connection closes after the answer.
        is_old: Whether the client speaks HTTP/1.0.
        refusal: Why the request is refused before any handler sees it.
    """

    __slots__ = ("body", "headers", "is_last", "is_old", "method", "refusal", "target")

    def __init__(self, method: bytes, target: bytes, body: bytes = b"") -> None:
        self.method = method
        self.target = target
        self.body = body
        self.headers: dict[bytes, bytes] = {}
        self.is_last = False
        self.is_old = False
        self.refusal: Refused | None = None


class Reply(Protocol):
    """Where a handler sends its one answer, at once or later."""

    is_closed: bool

    def respond(
        self, status: int, body: bytes, content_type: bytes = JSON, headers: bytes = b""
    ) -> None:
        """Send the answer; ignored once the client has gone."""


Handler = Callable[[Request, Reply], None]


def error_body(text: str) -> bytes:
    """Return ``{"error": text}``.

    >>> error_body("no such model")
    b'{"error":"no such model"}'
    """
    return msgspec.json.encode({"error": text})


def status_line(status: int) -> bytes:
    """Return the first line of an answer."""
    return b"HTTP/1.1 %d %s\r\n" % (status, _REASONS[status])
