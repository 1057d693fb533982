"""Commands about versions, aliases and decisions."""

from dataclasses import asdict
from pathlib import Path

import click

from everloop.cli.main import HELD
from everloop.cli.options import (
    json_option,
    open_workspace,
    project_option,
    write_json,
    write_table,
)
from everloop.cli.words import moment, tell_decision, tell_manifest


@click.command()
@project_option
@json_option
def models(path: Path, *, as_json: bool) -> None:
    r"""List versions and the aliases that point at them.

    \b
    Example:
      everloop models
    """
    ws = open_workspace(path)
    names: dict[int, list[str]] = {}
    for alias, number in ws.registry.aliases().items():
        names.setdefault(number, []).append(alias)
    versions = ws.registry.versions()
    if as_json:
        write_json([{**asdict(v), "aliases": sorted(names.get(v.number, []))} for v in versions])
        return
    if not versions:
        click.echo("No version yet; `everloop run` makes the first.")
        return
    write_table(
        ("version", "aliases", "created", "bundle", "made because"),
        [
            (
                v.number,
                ", ".join(sorted(names.get(v.number, []))),
                moment(v.created_at),
                v.bundle[:12],
                v.note,
            )
            for v in versions
        ],
    )


@click.command()
@click.argument("version", type=click.IntRange(min=1), required=False)
@project_option
@json_option
def gate(path: Path, version: int | None, *, as_json: bool) -> None:
    r"""Judge a version, the newest if left out, against the champion; promote nothing.

    Exit code 3 means that the gate says hold.

    \b
    Example:
      everloop gate
    """
    from everloop.loop.judging import judge

    found = judge(open_workspace(path), version)
    if as_json:
        write_json(found.model_dump(mode="json"))
    else:
        against = "no champion" if found.champion is None else f"version {found.champion}"
        click.echo(f"{found.outcome:9} version {found.version} against {against}")
        for reason in (*found.objections, *found.summary):
            click.echo(f"          {reason}")
    if found.objections:
        raise click.exceptions.Exit(HELD)


@click.command()
@click.argument("version", type=click.IntRange(min=1))
@click.option("--reason", default="by hand", help="Kept in the audit trail.")
@project_option
def promote(path: Path, version: int, reason: str) -> None:
    r"""Make a version the champion; the replicas swap to it without a failed request.

    \b
    Example:
      everloop promote 3 --reason "checked with the clinic"
    """
    from everloop.loop.controller import Controller

    Controller(open_workspace(path)).promote_by_hand(version, reason)
    click.echo(f"version {version} is champion")


@click.command()
@click.option("--to", "version", type=click.IntRange(min=1), help="Version; the former champion.")
@click.option("--reason", default="by hand", help="Kept in the audit trail.")
@project_option
def rollback(path: Path, version: int | None, reason: str) -> None:
    r"""Put the former champion, or a version of your choice, back.

    \b
    Example:
      everloop rollback --reason "too many false alarms on ward 3"
    """
    from everloop.loop.controller import Controller

    now = Controller(open_workspace(path)).roll_back_by_hand(version, reason)
    click.echo(f"version {now} is champion again")


@click.command()
@click.option("--last", type=click.IntRange(min=1), default=20, help="How many.")
@project_option
@json_option
def decisions(path: Path, last: int, *, as_json: bool) -> None:
    r"""Show what was decided, and why; the chain of digests is verified.

    \b
    Example:
      everloop decisions --last 5
    """
    from everloop.loop.trail import decision_lines

    lines = decision_lines(open_workspace(path))[-last:]
    if as_json:
        write_json([line.model_dump() for line in lines])
        return
    if not lines:
        click.echo("Nothing was decided yet; `everloop run` turns the loop once.")
    for line in lines:
        tell_decision(line, with_time=True)


@click.command()
@click.argument("version", type=click.IntRange(min=1), required=False)
@project_option
@json_option
def lineage(path: Path, version: int | None, *, as_json: bool) -> None:
    r"""Show what made a version: data, rows, settings, libraries, parents.

    \b
    Example:
      everloop lineage 2
    """
    ws = open_workspace(path)
    number = version or ws.registry.aliases().get("champion")
    if number is None:
        raise click.ClickException("there is no champion yet; run `everloop run`")
    manifest = ws.version_bundle(number).manifest
    if as_json:
        write_json(manifest.model_dump(mode="json", exclude={"columns"}))
        return
    click.echo(f"{'version':12} {number}, bundle {ws.registry.version(number).bundle[:12]}")
    tell_manifest(manifest)
