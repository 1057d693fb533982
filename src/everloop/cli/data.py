"""Commands about rows and files."""

from pathlib import Path

import click

from everloop.cli.options import (
    json_option,
    open_workspace,
    project_option,
    write_json,
    write_table,
)


@click.command()
@click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--version", type=click.IntRange(min=1), help="The champion if left out.")
@project_option
def predict(path: Path, source: Path, target: Path, version: int | None) -> None:
    r"""Score a file of rows: Parquet, CSV or JSON lines in, the same rows with predictions out.

    \b
    Example:
      everloop predict new_rows.parquet scored.parquet
    """
    from everloop.loop.batch import score_file

    num_rows, used = score_file(open_workspace(path), source, target, version)
    click.echo(f"{target}: {num_rows} rows scored by version {used}")


@click.command()
@click.argument("source", required=False)
@click.option("--last", type=click.IntRange(min=1, max=1000), default=10, help="Rows to show.")
@project_option
@json_option
def quarantine(path: Path, source: str | None, last: int, *, as_json: bool) -> None:
    r"""Show rows that were set aside: how many by rule, and the newest with their values.

    \b
    Example:
      everloop quarantine weather --last 3
    """
    from everloop.loop.quarantine import read_quarantine

    found = read_quarantine(open_workspace(path), source, last)
    if as_json:
        write_json(found)
        return
    if not found["counts"]:
        click.echo("No row is set aside.")
        return
    write_table(
        ("source", "rule", "rows"), [(c["source"], c["rule"], c["rows"]) for c in found["counts"]]
    )
    for row in found["rows"]:
        click.echo(f"\n{row['source']}, {row['rule']}: found {row['value']}\n  {row['row']}")


@click.command()
@click.option("--keep", type=click.IntRange(min=1), default=10, help="Newest versions to keep.")
@click.option("--dry-run", is_flag=True, help="Only say what would be freed.")
@project_option
@json_option
def gc(path: Path, keep: int, *, dry_run: bool, as_json: bool) -> None:
    r"""Free bundles and files that no kept version, alias or route refers to.

    \b
    Example:
      everloop gc --dry-run
    """
    from everloop.registry.gc import collect

    ws = open_workspace(path)
    report = collect(ws.objects, ws.tables, ws.model, keep=keep, dry_run=dry_run)
    if as_json:
        write_json(report.model_dump(mode="json"))
        return
    verb = "would free" if dry_run else "freed"
    for freed in report.freed:
        click.echo(f"{freed.kind:10} {freed.size_bytes / 1e6:9.3f} MB  {freed.path}")
    click.echo(f"{verb} {report.size_bytes / 1e6:.3f} MB in {len(report.freed)} files")
