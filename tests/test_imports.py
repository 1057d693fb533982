"""What an import and an installation cost: the light core stays light."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
HEAVY = {
    "pydantic", "obstore", "numpy", "onnxruntime", "httptools", "msgspec", "uvloop", "polars",
    "deltalake", "pyarrow", "lightgbm", "torch", "safetensors", "onnx", "jinja2", "matplotlib",
    "starlette", "uvicorn", "rich",
}  # fmt: skip
NOT_IN_A_REPLICA = HEAVY - {"pydantic", "obstore", "numpy", "onnxruntime", "httptools"} - {
    "msgspec", "uvloop",
}  # fmt: skip

# Packages of an installation, everloop itself left out: docs/packages.md says why each is there.
AT_MOST = {"": 7, "serve": 15, "data": 16, "report": 34, "train": 40}

_SHOW = """
import sys
try:
    {work}
except SystemExit:
    pass
print("LOADED", *sorted({{name.partition(".")[0] for name in sys.modules}}))
"""


def loaded(work: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", _SHOW.format(work=work)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(done.stdout.rpartition("LOADED")[2].split())


def test_importing_everloop_loads_no_other_package() -> None:
    assert loaded("import everloop") & (HEAVY | {"click"}) == set()


def test_the_help_loads_click_alone() -> None:
    asked = "from everloop.cli import main; sys.argv = ['everloop', '--help']; main()"
    found = loaded(asked)
    assert "click" in found
    assert found & HEAVY == set()


def test_the_help_of_a_command_loads_no_tables_and_no_models() -> None:
    asked = "from everloop.cli import main; sys.argv = ['everloop', 'run', '--help']; main()"
    assert loaded(asked) & NOT_IN_A_REPLICA == set()


@pytest.mark.parametrize(
    "module", ["everloop.serve.replica", "everloop.serve.__main__", "everloop.serve"]
)
def test_a_replica_loads_neither_tables_nor_training(module: str) -> None:
    assert loaded(f"import {module}") & NOT_IN_A_REPLICA == set()


def test_everloop_serve_loads_neither_tables_nor_training(tmp_path: Path) -> None:
    (tmp_path / "everloop.toml").write_text(
        '[project]\nname = "a"\n[[sources]]\npath = "a.csv"\nlabel = "b"\n'
        # Under a file no store can be: the replica ends as soon as it has everything it needs.
        '[store]\nurl = "everloop.toml/store"\n'
    )
    words = ["everloop", "serve", "-p", str(tmp_path)]
    found = loaded(f"from everloop.cli import main; sys.argv = {words}; main()")
    assert "onnxruntime" in found
    assert found & NOT_IN_A_REPLICA == set()


def _closure(extra: str) -> set[str]:
    """Return the packages that an extra brings, as they are installed here."""
    todo = [("everloop", extra)]
    seen: set[tuple[str, str]] = set()
    for _ in range(1000):
        if not todo:
            return {name for name, _ in seen} - {"everloop"}
        one = todo.pop()
        if one in seen:
            continue
        seen.add(one)
        try:
            needed = requires(one[0]) or []
        except PackageNotFoundError:
            continue
        todo += [found for text in needed for found in _needed(text, one[1])]
    raise AssertionError("the requirements go round in circles")


def _needed(text: str, extra: str) -> list[tuple[str, str]]:
    requirement = Requirement(text)
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
        return []
    name = requirement.name.lower().replace("_", "-")
    return [(name, ""), *((name, found) for found in sorted(requirement.extras))]


@pytest.mark.parametrize("extra", AT_MOST)
def test_an_extra_brings_no_more_packages_than_it_must(extra: str) -> None:
    found = _closure(extra)
    assert found >= {"click", "pydantic", "obstore"}
    assert len(found) <= AT_MOST[extra], sorted(found)


def test_serving_brings_no_package_of_tables_or_training() -> None:
    assert _closure("serve") & NOT_IN_A_REPLICA == set()


def _justified() -> set[str]:
    text = (ROOT / "docs" / "packages.md").read_text()
    cells = re.findall(r"^\| (`[^|]*`) \|", text, flags=re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([\w.-]+)`", cell)}


def test_every_package_that_serving_brings_is_justified() -> None:
    assert _closure("serve") - _justified() == set()


def test_every_package_of_the_project_file_is_justified() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    named = {re.split(r"[\[>=<;! ]", line)[0] for lines in lists for line in lines} - {"everloop"}
    assert named - _justified() == set()
