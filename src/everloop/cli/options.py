"""What commands share: the project option, JSON output, progress on a terminal."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from everloop.spec.progress import Progress, no_progress

if TYPE_CHECKING:
    from everloop.loop.workspace import Workspace

Command = TypeVar("Command", bound=Callable[..., Any])


def project_option(command: Command) -> Command:
    """Add ``--project``."""
    return click.option(
        "--project",
        "-p",
        "path",
        type=click.Path(path_type=Path),
        default=Path(),
        help="The project file or its directory.",
        envvar="EVERLOOP_PROJECT",
    )(command)


def json_option(command: Command) -> Command:
    """Add ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Write JSON for machines.")(command)


def open_workspace(path: Path, *, with_progress: bool = True) -> "Workspace":
    """Open the project at a path, with a progress line where somebody looks."""
    from everloop.loop.workspace import Workspace

    progress = terminal_progress() if with_progress else no_progress
    return Workspace.open(path, progress=progress)


def check_store(ws: "Workspace") -> None:
    """Write to the store and take it back.

    Raises:
        EverloopError: If the store cannot be written.
    """
    ws.objects.put("doctor/written", b"yes")
    ws.objects.delete(["doctor/written"])


def write_json(value: object) -> None:
    """Write one JSON document to standard output."""
    click.echo(json.dumps(value, indent=2, default=str))


def write_table(head: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    """Write an aligned table to standard output."""
    cells = [head, *[tuple("" if c is None else str(c) for c in row) for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    for row in cells:
        line = "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True))
        click.echo(line.rstrip())


def terminal_progress() -> Progress:
    """Return a progress line for a terminal, and silence in a pipe."""
    if not sys.stderr.isatty():
        return no_progress
    try:
        from everloop.cli.progress import BarProgress
    except ModuleNotFoundError:
        return no_progress
    return BarProgress()
