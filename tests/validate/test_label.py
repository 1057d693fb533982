"""The label's expression."""

import polars as pl
import pytest

from everloop.spec.errors import ProjectError
from everloop.spec.project import Project
from everloop.validate import label_expression


def project(label: str) -> Project:
    source = {"path": "x.csv", "label": label}
    return Project.model_validate({"project": {"name": "t"}, "sources": [source]})


@pytest.mark.parametrize(
    ("label", "expected"),
    [("delay", [10, 40, None]), ("delay > 30", [False, True, None]), ('"the day"', [1, 2, 3])],
)
def test_a_label_is_a_column_or_an_expression(label: str, expected: list[object]) -> None:
    frame = pl.DataFrame({"delay": [10, 40, None], "the day": [1, 2, 3]})
    assert frame.select(label_expression(project(label)))["_label"].to_list() == expected


def test_a_broken_label_is_named() -> None:
    with pytest.raises(ProjectError, match=r"sources\[0\]\.label: found 'delay >'"):
        label_expression(project("delay >"))
