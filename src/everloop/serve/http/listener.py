"""The listening socket, its connections, and the sweep that ends the slow ones."""

import asyncio
import errno
import socket
from collections.abc import Callable
from contextlib import suppress
from email.utils import formatdate

from everloop.serve.http.connection import Connection
from everloop.serve.http.hosts import Hosts
from everloop.serve.http.limits import Limits
from everloop.serve.http.messages import Handler
from everloop.spec.errors import UnavailableError

_BACKLOG = 1024
_LET_GO_S = 0.02


class Listener:
    """Accepts connections and owns them."""

    def __init__(
        self,
        handler: Handler,
        limits: Limits,
        hosts: Hosts,
        *,
        clock: Callable[[], float],
        on_failure: Callable[[Exception], None],
    ) -> None:
        self.handler = handler
        self.limits = limits
        self.hosts = hosts
        self.is_draining = False
        self.connections: set[Connection] = set()
        self.failed = on_failure
        self._clock = clock
        self._server: asyncio.Server | None = None
        self._queue: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.now = 0.0
        self.date = b""
        self._look_at_clocks()

    async def start(self, host: str, port: int) -> int:
        """Bind and listen.

        Returns:
            The real port, where 0 was asked for.

        Raises:
            UnavailableError: If the address cannot be bound.
        """
        loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            listening = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        except OSError as error:
            raise _cannot_bind(host, port, error) from error
        listening.settimeout(0)
        self._queue = listening.dup()
        self._server = await loop.create_server(lambda: Connection(self), sock=listening)
        self._sweep_later()
        bound: int = self._queue.getsockname()[1]
        return bound

    def opened(self, connection: Connection) -> bool:
        """Count a new connection; False if there are too many."""
        self.connections.add(connection)
        return len(self.connections) <= self.limits.max_connections

    def closed(self, connection: Connection) -> None:
        """Forget a connection."""
        self.connections.discard(connection)

    def _look_at_clocks(self) -> None:
        self.now = self._clock()
        self.date = b"Date: %s\r\n" % formatdate(usegmt=True).encode()

    def _sweep_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self.limits.sweep_s, self._tick)

    def _tick(self) -> None:
        self.sweep()
        self._sweep_later()

    def sweep(self) -> None:
        """End every connection whose deadline is over."""
        self._look_at_clocks()
        for connection in [c for c in self.connections if c.deadline < self.now]:
            connection.expire()

    async def stop_accepting(self) -> None:
        """Close the listening socket; open connections go on.

        Connections that the kernel holds already are taken first; they would be reset otherwise.
        """
        if self._server is None or self._queue is None:
            return
        self._server.close()
        loop = asyncio.get_running_loop()
        # The loop lets go of its own descriptor some turns later; until then the kernel queues.
        await asyncio.sleep(_LET_GO_S)
        with self._queue:
            waiting = _accept_all(self._queue)
        for one in waiting:
            await loop.connect_accepted_socket(lambda: Connection(self), one)

    def close_idle(self) -> None:
        """Close the connections that nothing is due on."""
        for connection in [c for c in self.connections if c.is_idle()]:
            connection.close()

    def close(self) -> None:
        """Close everything."""
        if self._server is not None and self._queue is not None:
            self._server.close()
            self._queue.close()
        if self._timer is not None:
            self._timer.cancel()
        for connection in list(self.connections):
            connection.close()


def _accept_all(queue: socket.socket) -> list[socket.socket]:
    found = []
    with suppress(OSError):
        while True:
            one, _ = queue.accept()
            one.settimeout(0)
            found.append(one)
    return found


def _cannot_bind(host: str, port: int, error: OSError) -> UnavailableError:
    if error.errno == errno.EADDRINUSE:
        return UnavailableError(
            f"serve.port: {port} on {host} is taken by another process; stop it, or set "
            "serve.port to another one (0 takes a free one)"
        )
    reason = error.strerror or str(error)
    return UnavailableError(
        f"serve.host, serve.port: cannot listen on {host}:{port}: {reason}; set others"
    )
