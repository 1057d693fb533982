"""From method and path to a handler."""

from collections.abc import Callable
from urllib.parse import unquote

from everloop.serve.http.messages import Refused, Reply, Request

Params = tuple[str, ...]
RouteHandler = Callable[[Request, Reply, Params], None]
_MAX_REMEMBERED = 256


class Router:
    """Patterns such as ``/v2/models/{}/infer``; a ``{}`` matches one segment, decoded."""

    def __init__(self) -> None:
        self._routes: list[tuple[bytes, tuple[str, ...], RouteHandler]] = []
        # Clients ask for the same few targets over and over; the rest is bounded.
        self._found: dict[tuple[bytes, bytes], tuple[RouteHandler, Params]] = {}

    def add(self, method: str, pattern: str, handler: RouteHandler) -> None:
        """Add a route."""
        self._routes.append((method.encode(), tuple(pattern.split("/")), handler))

    def handle(self, request: Request, reply: Reply) -> None:
        """Hand a request to its handler.

        Raises:
            Refused: With 404 for an unknown path, 405 for a method it does not take.
        """
        key = (request.method, request.target)
        found = self._found.get(key)
        if found is None:
            found = self._find(request)
            if len(self._found) >= _MAX_REMEMBERED:
                self._found.clear()
            self._found[key] = found
        handler, params = found
        handler(request, reply, params)

    def _find(self, request: Request) -> tuple[RouteHandler, Params]:
        path = request.target.partition(b"?")[0].decode("latin-1")
        segments = path.split("/")
        methods = set()
        for method, pattern, handler in self._routes:
            params = _match(pattern, segments)
            if params is None:
                continue
            if method == request.method:
                return handler, params
            methods.add(method.decode())
        if methods:
            raise Refused(405, f"this path takes {' or '.join(sorted(methods))} only")
        raise Refused(404, "there is nothing at this path")


def _match(pattern: tuple[str, ...], segments: list[str]) -> Params | None:
    if len(pattern) != len(segments):
        return None
    params = []
    for expected, found in zip(pattern, segments, strict=True):
        if expected == "{}":
            params.append(unquote(found, errors="replace"))
        elif expected != found:
            return None
    return tuple(params)
