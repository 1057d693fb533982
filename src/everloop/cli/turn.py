"""Commands that turn the loop once."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from everloop.cli.main import HELD
from everloop.cli.options import json_option, open_workspace, project_option, write_json
from everloop.cli.words import tell_decision

if TYPE_CHECKING:
    from everloop.loop.turn import TurnReport

# Decisions that stages follow, so they are told before them.
_BEGIN = ("retrain", "recalibrate")
STAGES = ("ingest", "validate", "train", "compress", "gate", "promote")


@click.command()
@click.option("--to", type=click.Choice(STAGES), default="promote", help="The last stage to run.")
@project_option
@json_option
def run(path: Path, to: str, *, as_json: bool) -> None:
    r"""Turn the loop once: ingest, validate, train, compress, gate, promote.

    What is done is skipped; what was killed goes on where it stopped. Exit code 3 means that the
    gate said hold.

    \b
    Example:
      everloop run --to validate
    """
    from everloop.loop.turn import run_turn

    report = run_turn(open_workspace(path), to=to)
    if as_json:
        write_json(report.model_dump(mode="json"))
    else:
        _tell(report)
    if report.is_held:
        raise click.exceptions.Exit(HELD)


def _tell(report: "TurnReport") -> None:
    _tell_rows(report)
    begun = [d for d in report.decisions if d.kind in _BEGIN]
    for decision in begun:
        tell_decision(decision)
    _tell_stages(report)
    for objection in report.objections:
        click.echo(f"hold      {objection}")
    for decision in report.decisions:
        if decision not in begun:
            tell_decision(decision)
        if decision.kind == "ask_person":
            click.echo(f"          `everloop promote {decision.version}` says yes")
    if report.champion is not None:
        click.echo(f"champion  version {report.champion}")


def _tell_stages(report: "TurnReport") -> None:
    for line in report.stages:
        what = f"{line.run.seconds:.1f} s" if line.is_new else "done before"
        click.echo(f"{line.run.stage:9} {str(line.run.outputs.get('bundle', ''))[:12]}  {what}")
        for warning in line.run.warnings:
            click.echo(f"warning   {warning}")


def _tell_rows(report: "TurnReport") -> None:
    for taken in report.ingested:
        click.echo(f"ingest    {taken.source}: {taken.num_rows} new rows")
    for cleaned in report.cleaned:
        if not cleaned.num_rows:
            click.echo(f"validate  {cleaned.source}: nothing new")
            continue
        aside = ", ".join(f"{rule} {count}" for rule, count in cleaned.quarantined.items())
        click.echo(
            f"validate  {cleaned.source}: kept {cleaned.kept}, filtered {cleaned.filtered}, "
            f"duplicates {cleaned.duplicates}, quarantined {aside or 0}"
        )
        if cleaned.empty:
            click.echo(f"          no value at all in {', '.join(cleaned.empty)}")


@click.command()
@click.option("--follow", is_flag=True, help="Keep looking for new rows, and validate them too.")
@click.option("--anew", is_flag=True, help="Read all files again; only before rows were kept.")
@project_option
@json_option
def ingest(path: Path, *, follow: bool, anew: bool, as_json: bool) -> None:
    r"""Read the sources into raw tables, each row exactly once.

    \b
    Example:
      everloop ingest --follow
    """
    from everloop.cli.services import until_stopped
    from everloop.loop.turn import clean_all, take_in

    if anew:
        from everloop.loop.anew import forget_raw

        ws = open_workspace(path)
        for source in ws.project.sources:
            forget_raw(ws, source.name)
    # Opened after that, so that no table is remembered as it was.
    ws = open_workspace(path)
    if follow:
        with until_stopped(ws) as clock:
            while True:
                take_in(ws)
                clean_all(ws)
                if clock.wait(ws.project.retrain.poll_interval.total_seconds()):
                    return
    reports = take_in(ws)
    if as_json:
        write_json([report.model_dump() for report in reports])
        return
    for report in reports:
        click.echo(f"{report.source}: {report.num_rows} new rows in {report.num_pieces} pieces")
