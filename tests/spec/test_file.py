"""Project files: good ones, and broken ones whose messages are kept word for word."""

from datetime import timedelta
from pathlib import Path

import pytest

from everloop.spec.errors import ProjectError
from everloop.spec.file import load_project, parse_project

BROKEN = sorted((Path(__file__).parent / "broken").glob("*.toml"))
SMALLEST = """
[project]
name = "bikes"

[[sources]]
path = "bikes.csv"
label = "count"
"""


def test_the_smallest_file_is_short_and_complete() -> None:
    project = parse_project(SMALLEST)
    assert project.main.name == "main"
    assert project.label.expression == "count"
    assert project.train.model == "boosting"
    assert len(SMALLEST.splitlines()) < 15


def test_lengths_of_time_and_shares_are_told_apart() -> None:
    project = parse_project(SMALLEST + "[train.split]\ntune = '7d'\ngate = 0.2\n")
    assert project.train.split.tune == timedelta(days=7)
    assert project.train.split.gate == 0.2


def test_a_single_join_table_is_a_list_of_one() -> None:
    project = parse_project(
        SMALLEST
        + "time = 'at'\n[[sources]]\nname = 'w'\npath = 'w'\ntime = 'at'\n[join]\nsource = 'w'\n"
    )
    assert [join.source for join in project.join] == ["w"]


def test_steps_may_be_words_or_tables() -> None:
    text = "[columns.at]\nsteps = ['parse', { kind = 'calendar', parts = ['month'] }]\n"
    parse, calendar = parse_project(SMALLEST + text).columns["at"].steps or ()
    assert (parse.kind, calendar.parts) == ("parse", ("month",))


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_a_broken_file_gets_its_message(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    with pytest.raises(ProjectError) as caught:
        load_project(Path(path.name))
    assert str(caught.value) + "\n" == path.with_suffix(".txt").read_text()


def test_there_are_at_least_thirty_broken_files() -> None:
    assert len(BROKEN) >= 30


def test_a_secret_is_never_repeated() -> None:
    text = (Path(__file__).parent / "broken" / "secret_in_plain.toml").read_text()
    with pytest.raises(ProjectError) as caught:
        parse_project(text)
    assert "hunter2" not in str(caught.value)


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="everloop init"):
        load_project(tmp_path / "everloop.toml")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "everloop.toml"
    path.write_bytes(b"[project]\nname = '\xff'\n")
    with pytest.raises(ProjectError, match=r"everloop.toml:2: file: byte 18 is not UTF-8"):
        load_project(path)


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(ProjectError):
        parse_project("a = " + "[" * 5000 + "]" * 5000)


def test_every_mistake_is_reported_with_its_line() -> None:
    text = (Path(__file__).parent / "broken" / "five_mistakes.toml").read_text()
    with pytest.raises(ProjectError) as caught:
        parse_project(text)
    lines = {problem.where: problem.line for problem in caught.value.problems}
    assert lines == {
        "project.name": 2,
        "sources[0].path": 5,
        "sources[0].labl": 6,
        "gate.confidence": 9,
        "retrain.evry": 12,
    }
