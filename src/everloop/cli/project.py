"""Commands about the project file and this machine."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click

import everloop
from everloop.cli.options import (
    check_store,
    json_option,
    open_workspace,
    project_option,
    write_json,
    write_table,
)

TEMPLATES = ("flights", "empty")
SCHEMA = "everloop.schema.json"


@click.command()
@click.argument("template", type=click.Choice(TEMPLATES), default="empty")
@click.argument("folder", type=click.Path(path_type=Path), required=False)
def init(template: str, folder: Path | None) -> None:
    r"""Start a project from a template, in a new folder.

    ``flights`` comes with real data and runs as it is; ``empty`` is a short file to fill in.

    \b
    Example:
      everloop init empty my-model
    """
    target = folder or Path(template)
    if target.exists() and any(target.iterdir() if target.is_dir() else [target]):
        raise click.UsageError(f"{target} is there and not empty; name another folder")
    source = _template(template)
    target.mkdir(parents=True, exist_ok=True)
    text = (source / "everloop.toml").read_text()
    # The hint for editors names the schema by a path that holds in the examples' folder.
    hint = f"#:schema ./{SCHEMA}"
    (target / "everloop.toml").write_text(re.sub(r"\A#:schema \S+", hint, text))
    (target / SCHEMA).write_text(_schema_text())
    if (source / "prepare.py").exists():
        shutil.copy(source / "prepare.py", target / "prepare.py")
    if (target / "prepare.py").exists():
        click.echo("Fetching the data, once.")
        done = subprocess.run(  # noqa: S603 - our own file, just copied
            [sys.executable, str(target / "prepare.py")], check=False
        )
        if done.returncode:
            raise click.ClickException(f"the data is not there; run {target}/prepare.py again")
    first = "" if (target / "prepare.py").exists() else f"fill in {target}/everloop.toml, then "
    click.echo(f"Made {target}/everloop.toml. Next: {first}cd {target} && everloop up")


def _template(name: str) -> Path:
    packaged = Path(__file__).parent / "templates" / name
    # In a checkout, the example is the template; in a wheel it is packed beside this file.
    return packaged if packaged.exists() else Path(__file__).parents[3] / "examples" / name


@click.command()
@project_option
@json_option
def check(path: Path, *, as_json: bool) -> None:
    r"""Check the project file and report every mistake at once.

    \b
    Example:
      everloop check --project flights
    """
    from everloop.validate.expressions import check_syntax

    project = open_workspace(path, with_progress=False).project
    check_syntax(project)
    if as_json:
        write_json(project.model_dump(mode="json", by_alias=True))
        return
    click.echo(
        f"{project.project.name}: {len(project.sources)} source(s), label "
        f"{project.label.expression!r}, model {project.train.model}, store {project.store.url}. "
        "No mistakes."
    )


@click.command()
def schema() -> None:
    r"""Print the project file's JSON Schema, for editors that complete and check.

    \b
    Example:
      everloop schema > everloop.schema.json
    """
    click.echo(_schema_text(), nl=False)


def _schema_text() -> str:
    from everloop.spec.project import Project

    document = Project.model_json_schema(by_alias=True)
    document["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


PACKAGES = {
    "serve": ("numpy", "onnxruntime", "httptools", "msgspec", "uvloop"),
    "data": ("polars", "deltalake", "pyarrow"),
    "train": ("lightgbm", "torch", "safetensors", "onnx"),
    "report": ("jinja2", "matplotlib", "starlette", "uvicorn"),
}


@click.command()
@project_option
@json_option
def doctor(path: Path, *, as_json: bool) -> None:
    r"""Say what is installed and reachable, and what to do about the rest.

    \b
    Example:
      everloop doctor
    """
    findings = [("python", True, sys.version.split()[0]), ("everloop", True, everloop.__version__)]
    findings += [_package(name, extra) for extra, names in PACKAGES.items() for name in names]
    findings += _project_findings(path)
    if as_json:
        write_json([{"what": w, "ok": ok, "detail": d} for w, ok, d in findings])
    else:
        write_table(
            ("what", "ok", "detail"), [(w, "yes" if ok else "NO", d) for w, ok, d in findings]
        )
    if not all(ok for _, ok, _ in findings):
        raise click.exceptions.Exit(1)


def _package(name: str, extra: str) -> tuple[str, bool, str]:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return name, True, version(name)
    except PackageNotFoundError:
        return name, False, f"pip install 'everloop[{extra}]'"


def _project_findings(path: Path) -> list[tuple[str, bool, str]]:
    from everloop.spec.errors import EverloopError, ProjectError

    try:
        workspace = open_workspace(path, with_progress=False)
    except ProjectError as error:
        return [("project", False, str(error).splitlines()[0])]
    found = [("project", True, workspace.model)]
    try:
        check_store(workspace)
    except (EverloopError, OSError) as error:
        return [*found, ("store", False, str(error))]
    return [*found, ("store", True, workspace.objects.url)]
