"""Serves the status page of a project to the browser of the same machine.

The pages hold no script and set no cookie. A request must name a host that was allowed, so that a
foreign site which points its own name at this machine (DNS rebinding) is refused.
"""

import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from everloop.console.pages import StatusData, status_page, trouble_page
from everloop.spec.errors import EverloopError, UnavailableError

LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1", "[::1]")
REPORT_ENDINGS = frozenset({".html", ".json", ".svg", ".png"})
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}

Load = Callable[[], StatusData]


def make_app(
    load: Load, *, reports: Path | None = None, hosts: Sequence[str] = (), refresh_s: int = 10
) -> Starlette:
    """Build the application.

    Args:
        load: Reads what the page shows; called in a thread, once for each view.
        reports: Folder whose pages are served under ``/reports/``; it may not exist yet.
        hosts: Names in the ``Host`` header to allow besides this machine's own.
        refresh_s: Seconds until a browser reads the page anew.
    """

    def status(_: Request) -> Response:
        try:
            data = load()
        except EverloopError as error:
            page = trouble_page("Nothing to show just now", str(error), refresh_s=refresh_s)
            return HTMLResponse(page, status_code=503)
        return HTMLResponse(status_page(data, reports=_pages(reports), refresh_s=refresh_s))

    def status_json(_: Request) -> Response:
        try:
            return JSONResponse(load().model_dump(mode="json"))
        except EverloopError as error:
            return JSONResponse({"error": str(error)}, status_code=503)

    def health(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    routes: list[BaseRoute] = [
        Route("/", status),
        Route("/status.json", status_json),
        Route("/healthz", health),
    ]
    if reports is not None:
        routes.append(Mount("/reports", _ReportFiles(directory=reports, check_dir=False)))
    allowed = [*LOCAL_HOSTS, *hosts]
    return Starlette(
        routes=routes,
        middleware=[
            Middleware(_SecurityHeaders),
            Middleware(TrustedHostMiddleware, allowed_hosts=allowed, www_redirect=False),
        ],
    )


class PageServer:
    """Listens from the moment it is made, and answers while ``run`` runs.

    Attributes:
        url: What to open in a browser.
    """

    def __init__(self, app: ASGIApp, *, host: str = "127.0.0.1", port: int = 8090) -> None:
        """Take the port.

        Args:
            app: From ``make_app``.
            host: Address to bind; 127.0.0.1 is seen by this machine only.
            port: 0 takes a free one.

        Raises:
            UnavailableError: If the port cannot be had.
        """
        self._socket = _listen(host, port)
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self._socket.getsockname()[1]}/"
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                lifespan="off",
                ws="none",
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=2,
            )
        )

    def run(self) -> None:
        """Answer until ``stop`` is called, or Ctrl-C where this is the main thread."""
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._socket.close()

    def stop(self) -> None:
        """Let ``run`` return soon; may be called from any thread, more than once."""
        self._server.should_exit = True


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise UnavailableError(
            f"the pages cannot listen on {host} port {port}: {error.strerror or error}. "
            "Stop the program that has the port, or choose another port; 0 takes a free one"
        ) from error


def _pages(reports: Path | None) -> list[str]:
    if reports is None or not reports.is_dir():
        return []
    return sorted(path.name for path in reports.glob("*.html") if not path.name.startswith("."))


class _ReportFiles(StaticFiles):
    """Files of a report: inside the folder, of a known kind, and not hidden."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        parts = Path(path).parts
        is_hidden = any(part.startswith(".") for part in parts)
        if is_hidden or Path(path).suffix.lower() not in REPORT_ENDINGS:
            return PlainTextResponse("Not found", status_code=404)
        return await super().get_response(path, scope)


class _SecurityHeaders:
    """Adds to every answer what keeps a browser from doing more than show it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [(k.lower().encode(), v.encode()) for k, v in _HEADERS.items()]
                message["headers"] = [*message.get("headers", ()), *added]
            await send(message)

        await self._app(scope, receive, send_with_headers)
