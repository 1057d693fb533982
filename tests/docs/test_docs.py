"""Every block of code in README and docs is run, or checked where it would not end."""

import ast
import importlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from docs.generate import project_file, with_tables
from everloop.spec.file import parse_project
from everloop.spec.project import Project
from tests.docs.pages import ROOT, Block, blocks, pages
from tests.docs.session import Session

STORY = ("README.md", "docs/serving.md", "docs/operations.md")
"""One tale told over three pages: the later ones go on with the README's project."""

RUN = ("bash", "console")
SHOWN = ("", "json", "text")
"""Languages that nothing can be done with: drawings, answers, files of others."""

IN_CHECKOUT = ("CONTRIBUTING.md",)
"""Pages whose commands are given in the checkout itself."""

NOT_RUN = {"docs/architecture.md": "signatures, not code; the names in them are looked up instead"}
"""Pages whose Python is not run, and why."""

FLIGHTS = tomllib.loads((ROOT / "examples/flights/everloop.toml").read_text())
LINK = re.compile(r"\]\(([^)\s]+)\)")


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


every_page = pytest.mark.parametrize("page", pages(), ids=name)


def test_the_story_of_readme_serving_and_operations_can_be_followed(tmp_path: Path) -> None:
    session = Session(tmp_path)
    try:
        for page in STORY:
            for block in blocks(ROOT / page):
                session.play(block)
    finally:
        session.end()


@pytest.mark.parametrize("page", [p for p in pages() if name(p) not in STORY], ids=name)
def test_the_commands_of_a_page_run(page: Path, tmp_path: Path) -> None:
    session = Session(ROOT if name(page) in IN_CHECKOUT else tmp_path)
    for block in blocks(page):
        if block.language in RUN:
            session.play(block)


@every_page
def test_project_files_and_parts_of_them_are_right(page: Path) -> None:
    for block in blocks(page):
        if block.language == "toml":
            found = tomllib.loads(block.text)
            if "project" in found:
                parse_project(block.text, name=block.place)
            else:
                whole = json.dumps(FLIGHTS | found)
                Project.model_validate_json(whole, strict=True)


def test_what_the_readme_shows_of_the_flights_is_in_their_file() -> None:
    for block in blocks(ROOT / "README.md"):
        found = tomllib.loads(block.text) if block.language == "toml" else {}
        if "project" not in found:
            _check_part(found, FLIGHTS, block.place)


@every_page
def test_python_runs_and_no_language_is_unknown(page: Path, tmp_path: Path) -> None:
    for block in blocks(page):
        assert block.language in ("python", "toml", *RUN, *SHOWN), block.place
        if block.language == "python" and name(page) not in NOT_RUN:
            ast.parse(block.text, filename=block.place)
            if not block.file:
                _run_python(block, tmp_path)


def test_the_names_on_the_map_of_the_code_are_in_the_modules_beside_them() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    found = re.findall(r"^(?:class )?(\w+)[(:].*# ([a-z_]+/[a-z_/]+)\.py", page, re.MULTILINE)
    assert len(found) > 10
    for thing, path in found:
        module = importlib.import_module(f"everloop.{path.replace('/', '.')}")
        assert hasattr(module, thing), f"docs/architecture.md: {thing} is not in {path}.py"


@every_page
def test_links_lead_to_files_that_are_there(page: Path) -> None:
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if "://" not in link:
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            assert target.exists(), f"{name(page)}: {link}"
            assert not anchor or anchor in _anchors(target), f"{name(page)}: {link}"


def test_what_is_made_of_the_code_is_up_to_date() -> None:
    advice = "run `python docs/generate.py`"
    page = (ROOT / "docs/project-file.md").read_text(encoding="utf-8")
    assert page == project_file(), advice
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    assert page == with_tables(page), advice


@every_page
def test_a_metric_that_is_named_is_one_that_replicas_show(page: Path) -> None:
    code = "".join(p.read_text() for p in (ROOT / "src/everloop/serve").glob("*.py"))
    for metric in re.findall(r"`(everloop_[a-z_]+)`", page.read_text(encoding="utf-8")):
        assert f'"{metric}"' in code, metric


def test_a_measured_number_has_its_results_file() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    cost = page.partition("## What it costs")[2].partition("\n## ")[0]
    for item in cost.split("\n- ")[1:]:
        (link,) = re.findall(r"\((benchmarks/results/\S+)\)", item)
        results = (ROOT / link).read_text(encoding="utf-8")
        for number in re.findall(r"\d+\.\d+", item):
            assert number in results, f"{number} is not in {link}"


def test_a_change_on_its_way_is_named_after_its_kind_and_is_short() -> None:
    for path in (ROOT / "changelog.d").iterdir():
        if path.name != "README.md":
            assert re.fullmatch(r"[a-z0-9-]+\.(added|changed|fixed|removed)\.md", path.name)
            assert 1 <= len(path.read_text(encoding="utf-8").splitlines()) <= 5, path.name


def _anchors(page: Path) -> set[str]:
    """Return the headings of a page as a link names them."""
    text = page.read_text(encoding="utf-8")
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


def _check_part(part: Any, whole: Any, place: str) -> None:
    if isinstance(part, dict):
        for key, value in part.items():
            assert key in whole, f"{place}: {key}"
            _check_part(value, whole[key], place)
    elif isinstance(part, list) and part and isinstance(part[0], dict):
        for value, other in zip(part, whole, strict=True):
            _check_part(value, other, place)
    else:
        assert part == whole, place


def _run_python(block: Block, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", block.text], cwd=folder, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{block.place}\n{done.stderr}"
