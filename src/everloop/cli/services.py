"""Commands that run until they are stopped: each one service, and all of them together."""

import errno
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from everloop.cli.options import check_store, open_workspace, project_option
from everloop.spec.errors import UnavailableError

if TYPE_CHECKING:
    from everloop.loop.workspace import Workspace
    from everloop.runtime.clock import SystemClock

# What a killed `up` leaves behind sees that within half a second, and lets go of its port.
_PORT_ATTEMPTS, _PORT_WAIT_S = 25, 0.2


@contextmanager
def until_stopped(ws: "Workspace") -> "Iterator[SystemClock]":
    """Stop the workspace's clock on SIGTERM or Ctrl-C, or when the supervisor is gone."""
    from everloop.runtime.clock import SystemClock
    from everloop.runtime.local import end_with_parent

    clock = ws.clock
    assert isinstance(clock, SystemClock)
    end_with_parent()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: clock.stop())
    yield clock


@click.command()
@project_option
@click.option("--port", type=click.IntRange(0, 65535), help="Instead of serve.port; 0 is any.")
@click.option("--address-file", type=click.Path(path_type=Path), help="Gets host:port once ready.")
def serve(path: Path, port: int | None, address_file: Path | None) -> None:
    r"""Serve the versions of the route over the Open Inference Protocol v2.

    \b
    Example:
      everloop serve --port 8080
      curl http://127.0.0.1:8080/v2/health/ready
    """
    from everloop.runtime.local import end_with_parent
    from everloop.serve.replica import ServeJob, run_replica

    ws = open_workspace(path, with_progress=False)
    spec = ws.project.serve
    end_with_parent()
    run_replica(
        ServeJob(
            model=ws.model,
            store=ws.project.store,
            root=ws.root,
            serve=spec if port is None else spec.model_copy(update={"port": port}),
            spool=ws.spool,
            address_file=address_file,
        )
    )


@click.command()
@project_option
@click.option("--once", is_flag=True, help="Ship what is there and end.")
def ship(path: Path, *, once: bool) -> None:
    r"""Commit logged predictions and labels to tables, each exactly once.

    \b
    Example:
      everloop ship --once
    """
    from everloop.loop.shipping import Shipping

    ws = open_workspace(path, with_progress=False)
    shipping = Shipping(ws)
    if once:
        click.echo(shipping.ship())
        return
    with until_stopped(ws):
        shipping.follow()


@click.command()
@project_option
def watch(path: Path) -> None:
    r"""Keep turning the loop: look at data, drift and live metrics; retrain, promote, undo.

    \b
    Example:
      everloop watch
    """
    from everloop.loop.watch import Watch

    ws = open_workspace(path, with_progress=False)
    with until_stopped(ws):
        Watch(ws).follow()


@click.command()
@project_option
@click.option("--port", type=click.IntRange(0, 65535), help="Instead of console.port.")
def report(path: Path, port: int | None) -> None:
    r"""Serve the pages: champion, live metrics, drift, decisions.

    \b
    Example:
      everloop report --port 8090
    """
    from everloop.runtime.local import end_with_parent
    from everloop.spec.kinds import resolve

    end_with_parent()
    kinds = {"pages": "everloop.console.status:page_server"}
    make_server = resolve(kinds, "pages", where="everloop report", extra="report")
    server = make_server(open_workspace(path, with_progress=False), port=port)
    click.echo(f"Pages on {server.url}")
    server.run()


def _url(host: str, port: int) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port or 'ANY-FREE-PORT'}/"


def _check_places(ws: "Workspace") -> None:
    """Say at once what would keep a service from ever starting: the store, a port."""
    check_store(ws)
    for setting, spec in (("serve", ws.project.serve), ("console", ws.project.console)):
        _check_port(ws, f"{setting}.port", spec.host, spec.port)


def _check_port(ws: "Workspace", setting: str, host: str, port: int) -> None:
    """Make sure that a port can be had; services of a killed `up` may hold it a little longer."""
    import socket

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for attempt in range(_PORT_ATTEMPTS):
        try:
            socket.create_server((host, port), family=family).close()
        except OSError as error:
            found = f"{setting}: cannot listen on {host} port {port}: {error.strerror or error}"
            if attempt == 0 and error.errno == errno.EADDRINUSE:
                click.echo(f"{found}; waiting a little for it", err=True)
            if error.errno != errno.EADDRINUSE:
                break
        else:
            return
        if ws.clock.wait(_PORT_WAIT_S):
            break
    raise UnavailableError(
        f"{found}. Stop the program that has the port, or set {setting} to another; "
        "0 takes a free one"
    )


@click.command()
@project_option
def up(path: Path) -> None:
    r"""Run everything on this machine: the loop, the server, the shipper, the pages.

    A service that dies is started again. Ctrl-C ends all of them in order.

    \b
    Example:
      everloop up --project flights
    """
    from everloop.runtime.local import Service, Supervisor

    ws = open_workspace(path, with_progress=False)
    everloop = [sys.executable, "-m", "everloop"]
    services = [
        Service(name=name, command=[*everloop, name, "--project", str(path)])
        for name in ("serve", "ship", "watch", "report")
    ]
    with until_stopped(ws) as clock:
        _check_places(ws)
        _tell_places(ws)
        supervisor = Supervisor(
            services,
            clock,
            lambda text: click.echo(text, err=True),
            drain_s=ws.project.serve.drain_timeout.total_seconds() + 5,
        )
        code = supervisor.run()
    click.echo("Ended.")
    if code:
        raise click.exceptions.Exit(code)


def _tell_places(ws: "Workspace") -> None:
    spec, console = ws.project.serve, ws.project.console
    click.echo(f"model   {ws.model}, store {ws.objects.url}")
    click.echo(f"server  {_url(spec.host, spec.port)}v2/models/{ws.model}/infer")
    click.echo(f"pages   {_url(console.host, console.port)}")
    click.echo("Ctrl-C ends everything; what is finished is kept.")
