"""Files that come, grow, change; types that stay."""

import gzip
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from everloop.ingest import read_plan
from everloop.spec.errors import DataError


def test_rows_know_their_source_piece_and_place_in_the_file(place: Any) -> None:
    place.drop("a.csv", "a\n10\n20\n30\n")
    place.drop("b.csv", "a\n40\n")
    assert place.ingest(piece_rows=2).model_dump() == {
        "source": "main", "num_pieces": 3, "num_rows": 4, "offset": 2,
    }  # fmt: skip
    assert place.rows().select("a", "_source", "_offset", "_row").rows() == [
        (10, "main", 0, 0), (20, "main", 0, 1), (30, "main", 1, 2), (40, "main", 2, 0),
    ]  # fmt: skip
    assert read_plan(place.objects, "main", 2).file == "b.csv"


def test_a_second_run_finds_nothing_new_and_a_new_file_is_taken_in(place: Any) -> None:
    place.drop("b.csv", "a\n1\n")
    place.ingest()
    assert place.ingest().num_pieces == 0
    place.drop("a.csv", "a\n2\n")
    assert place.ingest().num_rows == 1


@pytest.mark.parametrize("ending", ["\n", ""])
def test_a_text_file_that_grew_gives_its_new_rows_only(place: Any, ending: str) -> None:
    path = place.drop("a.csv", "a,b\n1,x\n2,y" + ending)
    place.ingest()
    path.write_text("a,b\n1,x\n2,y\n3,z\n")
    assert place.ingest().num_rows == 1
    assert place.rows().select("a", "_row").rows() == [(1, 0), (2, 1), (3, 2)]


def test_a_row_that_was_torn_when_it_was_read_is_an_error(place: Any) -> None:
    path = place.drop("a.csv", "a\n1\n2")
    place.ingest()
    path.write_text("a\n1\n23\n")
    with pytest.raises(DataError, match=r"file a\.csv: changed after"):
        place.ingest()


@pytest.mark.parametrize("content", ["a\n1\n9\n", "a\n1\n", "b\n1\n2\n3\n"])
def test_a_text_file_changed_in_place_is_an_error_that_names_it(place: Any, content: str) -> None:
    path = place.drop("a.csv", "a\n1\n2\n")
    place.ingest()
    path.write_text(content)
    os.utime(path, ns=(1, 1))
    with pytest.raises(DataError, match=r"file a\.csv: changed after rows of it were taken in"):
        place.ingest()
    assert place.rows().height == 2


def test_a_parquet_file_changed_in_place_is_an_error_and_a_touched_one_is_not(place: Any) -> None:
    path = place.drop("a.parquet", pl.DataFrame({"a": [1, 2]}))
    place.ingest()
    os.utime(path, ns=(1, 1))
    assert place.ingest().num_rows == 0
    place.drop("a.parquet", pl.DataFrame({"a": [1, 2, 3]}))
    with pytest.raises(DataError, match="changed after"):
        place.ingest()


def test_a_plan_without_a_commit_is_carried_out_again_exactly(
    place: Any, open_place: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    place.drop("a.csv", "a\n1\n2\n3\n")

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(place.raw), "append", die)
        with pytest.raises(KeyboardInterrupt):
            place.ingest(piece_rows=2)
    place.drop("0.csv", "a\n0\n")
    again = open_place()
    assert again.ingest(piece_rows=99).num_rows == 4
    assert again.rows().select("a", "_offset").rows() == [(1, 0), (2, 0), (0, 1), (3, 2)]


def test_types_are_told_by_the_first_file_and_stay(place: Any) -> None:
    place.drop(
        "1.csv",
        "id,code,size,when,day,ok,note\n"
        "1,007,1.5,2026-01-01T10:00:00Z,2026-01-01,true,NA\n"
        "2,010,NaN,2026-01-01 12:00:00+02:00,2026-01-02,false,None\n",
    )
    place.drop("2.csv", "code,id,size,when,day,ok,note\n5,3,2,2026-01-02 00:00,null,,7\n")
    place.ingest()
    when = [datetime(2026, 1, 1, 10, tzinfo=UTC)] * 2 + [datetime(2026, 1, 2, tzinfo=UTC)]
    assert place.malformed() == []
    rows = place.rows()
    assert rows["when"].to_list() == when
    assert rows.drop("when", "day", "_source", "_offset", "_row").rows() == [
        (1, "007", 1.5, True, None), (2, "010", None, False, None), (3, "5", 2.0, None, "7"),
    ]  # fmt: skip


def test_a_whole_number_fits_a_column_of_floats_and_a_new_column_widens(place: Any) -> None:
    place.drop("1.parquet", pl.DataFrame({"a": [0.5]}))
    place.drop("2.parquet", pl.DataFrame({"a": [2], "b": ["new"]}))
    place.ingest()
    assert place.rows().select("a", "b").rows() == [(0.5, None), (2.0, "new")]


def test_a_key_that_only_late_json_lines_have_is_not_lost(place: Any) -> None:
    place.drop("a.jsonl", '{"a": 1}\n' * 3000 + '{"a": 2, "late": {"x": [1]}}\n')
    place.ingest()
    assert place.rows()["late"].drop_nulls().to_list() == ['{"x": [1]}']


def test_compressed_files_are_read_in_pieces_too(place: Any) -> None:
    place.drop("a.csv.gz", gzip.compress(b"a\n1\n2\n") + gzip.compress(b"3\n"))
    assert place.ingest(piece_rows=2).num_pieces == 2
    assert place.ingest().num_pieces == 0
    assert place.rows()["a"].to_list() == [1, 2, 3]


def test_plans_without_their_table_are_an_error(
    place: Any, open_place: Callable[[], Any], tmp_path: Any
) -> None:
    place.drop("a.csv", "a\n1\n2\n")
    place.ingest(piece_rows=1)
    shutil.rmtree(tmp_path / "store" / "tables")
    with pytest.raises(DataError, match="raw/main: holds pieces up to -1"):
        open_place().ingest()


@pytest.mark.parametrize("codec", ["zstd", "bz2"])
def test_other_compressions_are_known_by_their_ending(place: Any, codec: str) -> None:
    ending = {"zstd": "zst", "bz2": "bz2"}[codec]
    with pa.CompressedOutputStream(place.root / f"a.csv.{ending}", codec) as stream:
        stream.write(b"a\n1\n")
    place.ingest()
    assert place.rows()["a"].to_list() == [1]


def test_line_breaks_between_quotes_do_not_end_a_piece(place: Any) -> None:
    place.drop("a.csv", 'a,b\n1,"x\ny"\n2,"z"\n3,"p\nq\nr"\n')
    place.ingest(piece_rows=1)
    assert place.malformed() == []
    assert place.rows().sort("a")["b"].to_list() == ["x\ny", "z", "p\nq\nr"]


def test_a_parquet_file_keeps_its_types_or_their_nearest(place: Any) -> None:
    moment = datetime(2026, 1, 1, 10)  # noqa: DTZ001 - a file without a zone is read as UTC
    frame = pl.DataFrame(
        {
            "small": pl.Series([1], dtype=pl.UInt8), "single": pl.Series([0.5], dtype=pl.Float32),
            "kind": pl.Series(["x"], dtype=pl.Categorical), "when": [moment],
            "day": [moment.date()],
            "nested": [[1, 2]], "raw": [b"\xff"], "nothing": [None], "yes": [True],
        }
    )  # fmt: skip
    place.drop("a.parquet", frame)
    place.ingest()
    rows = place.rows()
    assert rows.row(0, named=True) | {"_source": ""} == {
        "small": 1, "single": 0.5, "kind": "x", "when": moment.replace(tzinfo=UTC),
        "day": datetime(2026, 1, 1, tzinfo=UTC), "nested": '{"nested":[1,2]}', "raw": b"\xff",
        "nothing": None, "yes": True, "_source": "", "_offset": 0, "_row": 0,
    }  # fmt: skip
