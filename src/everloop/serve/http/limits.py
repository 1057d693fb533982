"""What one client may ask of a replica; every bound of the HTTP layer in one record."""

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds on connections, headers, bodies and patience.

    Attributes:
        max_connections: Open at once; one more is answered 503 and closed.
        max_headers: Header fields of one request.
        max_header_bytes: Request target, names and values of one request together.
        max_body_bytes: Body of one request; a longer one is answered 413.
        header_timeout_s: From a request's first byte to the end of its headers.
        body_timeout_s: From there to the end of its body; also for a client that does not read.
        idle_timeout_s: Between requests of one connection.
        linger_s: How long a refused client may go on sending before the connection is cut.
        sweep_s: How often the timeouts are looked at; they are this coarse.
    """

    max_connections: int = 1000
    max_headers: int = 100
    max_header_bytes: int = 16 * 1024
    max_body_bytes: int = 16 * MIB
    header_timeout_s: float = 10.0
    body_timeout_s: float = 30.0
    idle_timeout_s: float = 60.0
    linger_s: float = 2.0
    sweep_s: float = 1.0
