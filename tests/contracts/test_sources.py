"""What every kind of source must keep to."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.ingest import SOURCES, ingest
from everloop.ingest.pieces import Piece
from everloop.spec.kinds import resolve
from everloop.spec.project import SourceSpec, StoreSpec
from everloop.store.objects import Objects
from everloop.store.tables import Tables

FRAME = pl.DataFrame({"a": range(10), "b": [f"text {i}" for i in range(10)]})


def fill_files(root: Path) -> SourceSpec:
    FRAME[:3].write_parquet(root / "1.parquet")
    FRAME[3:7].write_csv(root / "2.csv")
    FRAME[7:].write_ndjson(root / "3.jsonl")
    return SourceSpec(path="?.*", piece_rows=2)


FILLED = {"files": fill_files}
"""Kind to what lays `FRAME` out for it; a new kind adds a line."""

every_kind = pytest.mark.parametrize("kind", sorted(SOURCES))


def read(source: SourceSpec, root: Path) -> list[Piece]:
    return list(resolve(SOURCES, source.kind, where="", extra="")(source, root).pieces([]))


@every_kind
def test_pieces_are_numbered_from_zero_and_hold_each_row_once(kind: str, tmp_path: Path) -> None:
    source = FILLED[kind](tmp_path)
    pieces = read(source, tmp_path)
    rows = pl.concat([piece.rows.collect() for piece in pieces])
    assert rows.equals(FRAME)
    assert [piece.plan.number for piece in pieces] == list(range(len(pieces)))


@every_kind
def test_a_piece_is_bounded_and_says_its_size(kind: str, tmp_path: Path) -> None:
    source = FILLED[kind](tmp_path)
    for piece in read(source, tmp_path):
        assert piece.plan.num_rows == piece.rows.collect().height <= source.piece_rows


@every_kind
def test_a_plan_read_again_gives_the_same_rows(kind: str, tmp_path: Path) -> None:
    source = FILLED[kind](tmp_path)
    reader = resolve(SOURCES, source.kind, where="", extra="")(source, tmp_path)
    for piece in read(source, tmp_path):
        again = reader.again(type(piece.plan).model_validate_json(piece.plan.model_dump_json()))
        assert again.rows.collect().equals(piece.rows.collect())


@every_kind
def test_what_plans_hold_is_not_read_again(kind: str, tmp_path: Path) -> None:
    source = FILLED[kind](tmp_path)
    pieces = read(source, tmp_path)
    reader = resolve(SOURCES, source.kind, where="", extra="")(source, tmp_path)
    for done in range(len(pieces)):
        left = list(reader.pieces([piece.plan for piece in pieces[: done + 1]]))
        assert [p.plan for p in left] == [p.plan for p in pieces[done + 1 :]]


@every_kind
def test_a_second_ingest_adds_nothing(kind: str, tmp_path: Path) -> None:
    source = FILLED[kind](tmp_path)
    spec = StoreSpec(url="store")
    objects = Objects.open(spec, tmp_path)
    table = Tables(objects, spec).table("raw/main")
    assert ingest(source, table, objects, tmp_path).num_rows == FRAME.height
    assert ingest(source, table, objects, tmp_path).num_rows == 0
    assert table.num_rows() == FRAME.height


FIELDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)

NUMBERS = st.integers(-(10**17), 10**17)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(
        st.tuples(FIELDS, FIELDS, st.integers(-(10**17), 10**17)), min_size=1, max_size=8
    ),
    piece_rows=st.integers(1, 4),
)
def test_any_text_in_a_csv_file_comes_through(
    rows: list[tuple[str, str, int]], piece_rows: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("csv")
    frame = pl.DataFrame(rows, schema={"x": pl.String, "y": pl.String, "n": pl.Int64}, orient="row")
    frame.write_csv(root / "a.csv", quote_style="non_numeric")
    pieces = read(SourceSpec(path="a.csv", piece_rows=piece_rows), root)
    found = pl.concat([piece.rows.collect() for piece in pieces], how="diagonal")
    assert found.height == frame.height
    assert found["n"].to_list() == frame["n"].to_list()
    assert "_malformed" not in found.columns
