from pathlib import Path

import numpy as np
import polars as pl
import pytest

from everloop.frameworks.scoring import score_frame
from everloop.loop.batch import score_file
from everloop.spec.errors import DataError
from everloop.testing import make_rows
from tests.loop.conftest import Small


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Small:
    small = Small(tmp_path_factory.mktemp("done"))
    small.run()
    return small


@pytest.mark.parametrize("source", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("target", ["csv", "jsonl", "parquet"])
def test_every_format_gives_the_same_scores(
    done: Small, tmp_path: Path, source: str, target: str
) -> None:
    rows = make_rows(50, first=2000)
    write(rows, tmp_path / f"rows.{source}")
    out = tmp_path / f"scored.{target}"
    assert score_file(done.ws, tmp_path / f"rows.{source}", out, None) == (50, 1)
    found = read(out)
    expected = score_frame(done.ws.version_bundle(1), rows)
    assert np.allclose(found["probability"].to_numpy(), expected, atol=1e-6)
    assert found["id"].to_list() == rows["id"].to_list()


def write(rows: pl.DataFrame, path: Path) -> None:
    if path.suffix == ".csv":
        rows.write_csv(path)
    elif path.suffix == ".jsonl":
        rows.write_ndjson(path)
    else:
        rows.write_parquet(path)


def read(path: Path) -> pl.DataFrame:
    if path.suffix == ".csv":
        return pl.read_csv(path)
    return pl.read_ndjson(path) if path.suffix == ".jsonl" else pl.read_parquet(path)


def test_a_column_that_is_missing_is_named(done: Small, tmp_path: Path) -> None:
    write(make_rows(5).drop("size"), tmp_path / "rows.csv")
    with pytest.raises(DataError, match="size"):
        score_file(done.ws, tmp_path / "rows.csv", tmp_path / "out.csv", None)
    assert not (tmp_path / "out.csv").exists()


def test_empty_cells_and_unknown_words_are_scored(done: Small, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("size,weight,colour\n,1.5,red\n0.2,,ultraviolet\n1,2,\n")
    assert score_file(done.ws, tmp_path / "rows.csv", tmp_path / "out.csv", None) == (3, 1)
    assert read(tmp_path / "out.csv")["probability"].is_between(0, 1).all()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("rows.txt", "", "found '.txt', expected one of .parquet, .csv, .jsonl"),
        ("rows.csv", "", "rows.csv: cannot be read"),
        ("rows.parquet", "PAR1", "rows.parquet: cannot be read"),
        ("gone.csv", None, "gone.csv: cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    done: Small, tmp_path: Path, name: str, text: str | None, message: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message.replace(".", r"\.")):
        score_file(done.ws, tmp_path / name, tmp_path / "out.csv", None)


def test_an_unknown_ending_of_the_target_leaves_nothing_behind(done: Small, tmp_path: Path) -> None:
    write(make_rows(5), tmp_path / "rows.csv")
    with pytest.raises(DataError, match=r"expected \.parquet, \.csv or \.jsonl"):
        score_file(done.ws, tmp_path / "rows.csv", tmp_path / "out.xlsx", None)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


def test_a_version_must_be_there(done: Small, small: Small, tmp_path: Path) -> None:
    write(make_rows(5), tmp_path / "rows.csv")
    with pytest.raises(DataError, match="no version 7; the newest is 1"):
        score_file(done.ws, tmp_path / "rows.csv", tmp_path / "out.csv", 7)
    with pytest.raises(DataError, match="there is no champion yet"):
        score_file(small.ws, tmp_path / "rows.csv", tmp_path / "out.csv", None)
