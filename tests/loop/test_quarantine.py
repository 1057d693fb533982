import json

import polars as pl
import pytest

from everloop.loop.quarantine import count_by_rule, read_quarantine
from everloop.spec.errors import DataError
from everloop.testing import add_rows, make_rows
from tests.loop.conftest import Small


@pytest.fixture
def strict(small: Small) -> Small:
    text = (small.folder / "everloop.toml").read_text()
    (small.folder / "everloop.toml").write_text(f"{text}\n[columns.weight]\nmax = 10.0\n")
    rows = make_rows(20, first=2000).with_columns(
        weight=pl.when(pl.col("id") == "r2007").then(99.5).otherwise(pl.col("weight")),
    )
    add_rows(small.folder, rows)
    small.reopen()
    small.run("validate")
    return small


def test_counts_and_the_newest_rows_are_read(strict: Small) -> None:
    found = read_quarantine(strict.ws, None, 10)
    ((count,), (row,)) = found["counts"], found["rows"]
    assert (count["source"], count["rows"]) == ("main", 1)
    assert row["rule"] == count["rule"]
    assert json.loads(row["row"])["id"] == "r2007"
    assert row["value"] == "99.5"
    assert count_by_rule(strict.ws, "main")["len"].to_list() == [1]


def test_a_source_without_bad_rows_has_none(small: Small) -> None:
    small.run("validate")
    assert read_quarantine(small.ws, "main", 10) == {"counts": [], "rows": []}
    assert count_by_rule(small.ws, "main").is_empty()


def test_an_unknown_source_is_named(small: Small) -> None:
    with pytest.raises(DataError, match="source 'weather': not in the project, which has main"):
        read_quarantine(small.ws, "weather", 10)
