"""A new project: from the checkout, from a wheel, and what an editor is told of it."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from everloop.cli.main import cli
from everloop.spec.file import load_project
from tests.cli.projects import edit, everloop, rows

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*/everloop.toml"))


def test_an_empty_project_is_short_and_becomes_a_model_by_its_file_alone(tmp_path: Path) -> None:
    made = everloop("init", "empty", "shop", cwd=tmp_path)
    assert made.code == 0
    assert "fill in shop/everloop.toml" in made.out
    path = tmp_path / "shop" / "everloop.toml"
    assert (
        sum("=" in line and line[0] != "#" for line in path.read_text().splitlines() if line) < 15
    )
    (tmp_path / "shop" / "data").mkdir()
    (tmp_path / "shop" / "data" / "rows.csv").write_text(rows(1000))
    edit(path, '"outcome"', '"bought"')
    edit(path, '# time = "happened_at"', 'time = "at"')
    edit(path, '# key = ["id"]', 'key = ["id"]')
    edit(path, '# exclude = ["refunded"]', 'exclude = ["colour"]')
    done = everloop("run", cwd=tmp_path / "shop")
    assert done.code == 0, done.text
    assert "champion  version 1" in done.out
    inputs = everloop("lineage", "--json", cwd=tmp_path / "shop").json["inputs"]
    assert [tensor["name"] for tensor in inputs] == ["price"]


def test_a_new_project_points_editors_at_a_schema_beside_it(tmp_path: Path) -> None:
    assert everloop("init", cwd=tmp_path).code == 0
    first, *_ = (tmp_path / "empty" / "everloop.toml").read_text().splitlines()
    assert first == "#:schema ./everloop.schema.json"
    schema = json.loads((tmp_path / "empty" / "everloop.schema.json").read_text())
    assert set(schema["properties"]) >= {"project", "sources", "validate", "train"}


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    done = everloop("init", "empty", "mine", cwd=tmp_path)
    assert done.code == 2
    assert "mine is there and not empty; name another folder" in done.err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_an_example_is_a_good_project_and_names_its_schema(path: Path) -> None:
    load_project(path)
    first, *_ = path.read_text().splitlines()
    name = first.removeprefix("#:schema ")
    assert (path.parent / name).resolve() == ROOT / "schema" / "everloop.schema.json"


def test_the_schema_in_the_repository_is_what_the_command_prints() -> None:
    found = (ROOT / "schema" / "everloop.schema.json").read_text()
    printed = CliRunner().invoke(cli, ["schema"]).output
    hint = "run `everloop schema > schema/everloop.schema.json`"
    assert found == printed, hint


def test_an_installed_wheel_makes_a_project(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    source = tmp_path / "source"
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", *_packed()):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    _run(source, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist"))
    [wheel] = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    env = {"PYTHONPATH": str(tmp_path / "installed")}
    place = _run(tmp_path, "-c", "import everloop.cli as c; print(c.__file__)", env=env)
    assert Path(place.strip()).is_relative_to(tmp_path / "installed")
    _run(tmp_path, "-m", "everloop", "init", "empty", "mine", env=env)
    load_project(tmp_path / "mine" / "everloop.toml")
    flights = tmp_path / "installed" / "everloop" / "cli" / "templates" / "flights"
    assert {path.name for path in flights.iterdir()} == {"everloop.toml", "prepare.py"}


def _packed() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return list(project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"])


def _run(cwd: Path, *args: str, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [sys.executable, *args],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
