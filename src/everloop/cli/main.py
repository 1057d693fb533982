"""The table of commands, and how errors become a message and an exit code."""

import importlib
import os
import sys
from typing import Any, NoReturn

import click

import everloop
from everloop.spec.errors import EverloopError, ProjectError

DONE, FAILED, WRONG_USAGE, HELD, INTERRUPTED = 0, 1, 2, 3, 130

# Command: where it lives, and its line in the help, so that neither is imported for the other.
COMMANDS = {
    "init": ("everloop.cli.project:init", "Start a project from a template."),
    "check": ("everloop.cli.project:check", "Check the project file; every mistake at once."),
    "schema": ("everloop.cli.project:schema", "Print the project file's JSON Schema."),
    "doctor": ("everloop.cli.project:doctor", "Say what is installed and reachable."),
    "run": ("everloop.cli.turn:run", "Turn the loop once; skip what is done."),
    "up": ("everloop.cli.services:up", "Run the loop, the server and the pages."),
    "watch": ("everloop.cli.services:watch", "Keep turning the loop on triggers."),
    "ingest": ("everloop.cli.turn:ingest", "Read the sources into raw tables."),
    "serve": ("everloop.cli.services:serve", "Serve the route's versions over HTTP."),
    "ship": ("everloop.cli.services:ship", "Commit the replica's spool to tables."),
    "report": ("everloop.cli.services:report", "Serve the pages."),
    "predict": ("everloop.cli.data:predict", "Score a file: table in, table out."),
    "models": ("everloop.cli.models:models", "List versions and aliases."),
    "gate": ("everloop.cli.models:gate", "Judge the newest version; promote nothing."),
    "promote": ("everloop.cli.models:promote", "Make a version the champion."),
    "rollback": ("everloop.cli.models:rollback", "Put the former champion back."),
    "decisions": ("everloop.cli.models:decisions", "Show what was decided, and why."),
    "quarantine": ("everloop.cli.data:quarantine", "Show rows that were set aside."),
    "lineage": ("everloop.cli.models:lineage", "Show what made a version."),
    "gc": ("everloop.cli.data:gc", "Free what nothing refers to."),
}


class _Commands(click.Group):
    """A group that imports a command only to run it or to show its own help."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401
        try:
            found = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # The reader of our output, such as `head`, has gone; there is nobody left to tell.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return DONE
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:  # noqa: ANN401
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"{error.message}{hint}", ctx) from None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(everloop.__version__, prog_name="everloop")
def cli() -> None:
    r"""Run the whole life of a model from one everloop.toml.

    \b
    Example:
      everloop init flights && cd flights && everloop up

    Shell completion: eval "$(_EVERLOOP_COMPLETE=bash_source everloop)" (or zsh_source,
    fish_source).

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 a gate said hold.
    """


def main() -> NoReturn:
    """Run the command line and exit."""
    try:
        code = cli.main(prog_name="everloop", standalone_mode=False)
    except (KeyboardInterrupt, click.Abort):
        _say("Stopped. What was finished is kept; the same command goes on from there.")
        sys.exit(INTERRUPTED)
    except Exception as error:
        if os.environ.get("EVERLOOP_DEBUG"):
            raise
        sys.exit(_explain(error))
    sys.exit(code if isinstance(code, int) else DONE)


def _explain(error: Exception) -> int:
    """Tell a person what went wrong, without a traceback; return the exit code."""
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, ProjectError):
        _say(str(error))
        return WRONG_USAGE
    if isinstance(error, EverloopError):
        _say(f"Error: {error}")
    elif isinstance(error, OSError):
        _say(f"Error: {_about_os(error)}")
    else:
        _say(
            f"Internal error, a defect of everloop: {type(error).__name__}: {error}\n"
            "Nothing finished is lost. Run again with EVERLOOP_DEBUG=1 to see where it happened."
        )
    return FAILED


def _about_os(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    what_to_do = {28: "free some space and run again", 13: "check its owner and mode"}
    advice = what_to_do.get(error.errno or 0)
    return f"{where}{error.strerror or error}" + (f"; {advice}" if advice else "")


def _say(text: str) -> None:
    click.echo(text, err=True)
