"""Each kind of broken input is set aside or refused in words; no row is lost."""

import gzip
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from everloop.spec.errors import DataError

GOOD = "a,b,c\n1,x,0.5\n2,y,1.5\n"


def test_no_matching_file_is_an_error_that_names_the_pattern(place: Any) -> None:
    with pytest.raises(DataError, match=r"'main'.*no file matches '\*\.csv'"):
        place.ingest("*.csv")


@pytest.mark.parametrize("content", ["", "a,b\n", "a,b", "\n"])
def test_a_source_without_rows_is_an_error(place: Any, content: str) -> None:
    place.drop("a.csv", content)
    with pytest.raises(DataError, match="hold no row"):
        place.ingest()


def test_a_row_with_too_few_fields_is_set_aside(place: Any) -> None:
    place.drop("a.csv", GOOD + "3,z\n4,w,2.5\n")
    assert place.ingest().num_rows == 4
    assert place.malformed() == ["3,z"]
    assert place.rows()["a"].to_list() == [1, 2, None, 4]


def test_a_row_with_too_many_fields_is_set_aside(place: Any) -> None:
    place.drop("a.csv", GOOD + "3,z,1,9\n")
    place.ingest()
    assert place.malformed() == ["3,z,1,9"]


def test_short_and_long_rows_that_balance_are_both_set_aside(place: Any) -> None:
    place.drop("a.csv", GOOD + "3,z\n3,z,1,9\n")
    place.ingest()
    assert place.malformed() == ["3,z", "3,z,1,9"]


def test_a_cell_of_the_wrong_type_sets_its_row_aside(place: Any) -> None:
    place.drop("a.csv", GOOD)
    place.ingest()
    place.drop("b.csv", "a,b,c\nthree,z,1\n4,w,2\n")
    place.ingest()
    assert place.malformed() == ["three,z,1"]
    assert place.rows()["a"].to_list() == [1, 2, None, 4]


def test_a_word_among_a_hundred_numbers_makes_no_text_of_them(place: Any) -> None:
    place.drop("a.csv", "a,b\n" + "1,1\n" * 199 + "two,2.5\n")
    place.ingest()
    assert place.malformed() == ["two,2.5"]
    assert place.rows().select("a", "b").dtypes == [pl.Int64, pl.Float64]


def test_a_stray_quote_costs_its_own_row_only(place: Any) -> None:
    place.drop("a.csv", 'a,b\n1,x\n2,"y\n3,z\n4,"w, w"\n5,"v\nv"\n')
    place.ingest()
    assert place.malformed() == ['2,"y']
    assert place.rows()["b"].to_list() == ["x", None, "z", "w, w", "v\nv"]


def test_rows_in_another_encoding_are_set_aside_with_their_bytes(place: Any) -> None:
    place.drop("a.csv", b"a,b\n1,x\n2,caf\xe9\n")
    place.ingest()
    assert place.malformed() == ["2,caf\\xe9"]


def test_a_byte_order_mark_and_line_ends_of_windows_are_no_part_of_the_data(place: Any) -> None:
    place.drop("a.csv", b"\xef\xbb\xbfa,b\r\n1,x\r\n2,\r\n")
    place.ingest()
    assert place.rows().select("a", "b").rows() == [(1, "x"), (2, None)]
    assert place.malformed() == []


def test_blank_lines_are_no_rows(place: Any) -> None:
    place.drop("a.csv", "a,b\n\n1,x\n\r\n2,y\n\n")
    assert place.ingest().num_rows == 2
    assert place.malformed() == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"\xff\xfea\x00,\x00", "UTF-16, expected UTF-8"),
        ("a.csv", bytes(range(256)) * 10, "zero byte at byte 0"),
        ("a.csv", b"caf\xe9,b\n1,2\n", "byte 0xe9 at byte 3 of the header"),
        ("a.csv", b"a,a\n1,2\n", "column 'a' twice"),
        ("a.csv", b"a,_row\n1,2\n", "'_row', a name that everloop adds"),
        ("a.csv.gz", gzip.compress(b"a,b\n" + b"1,2\n" * 99999)[:-200], "cut short or damaged"),
        ("a.csv.gz", b"no gzip", "cut short or damaged"),
        ("a.txt", b"a,b\n1,2\n", "ending '.txt'"),
        ("a.parquet", b"a,b\n1,2\n", "another kind of file, expected Parquet"),
        ("a.jsonl", b'{"_value": 1}\n', "'_value', a name that everloop adds"),
    ],
)
def test_a_file_that_cannot_be_taken_in_is_named(
    place: Any, name: str, content: bytes, message: str
) -> None:
    place.drop(name, content)
    with pytest.raises(DataError, match=message) as caught:
        place.ingest()
    assert f"source 'main', file {name}" in str(caught.value)
    assert place.raw.version() == -1


def test_a_parquet_file_cut_short_is_refused(place: Any) -> None:
    path = place.drop("a.parquet", pl.DataFrame({"a": range(1000)}))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError, match="cut short"):
        place.ingest()


def test_damage_inside_a_parquet_file_is_an_error_that_names_it(place: Any) -> None:
    path = place.drop("a.parquet", pl.DataFrame({"a": [f"text {i}" for i in range(5000)]}))
    data = bytearray(path.read_bytes())
    data[50:400] = b"\xff" * 350
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"file a\.parquet"):
        place.ingest()
    assert place.raw.version() == -1


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_later_file_that_lacks_a_column_is_refused(place: Any, ending: str) -> None:
    for name, frame in (("1", {"a": [1], "b": [2]}), ("2", {"a": [1]})):
        data = pl.DataFrame(frame)
        place.drop(f"{name}.{ending}", data if ending == "parquet" else data.write_csv())
    with pytest.raises(DataError, match=rf"file 2\.{ending}: lacks 'b'"):
        place.ingest()
    assert place.rows().height == 1


def test_a_line_without_end_is_refused_before_it_fills_memory(
    place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("everloop.ingest.text.BLOCK_BYTES", 1 << 10)
    monkeypatch.setattr("everloop.ingest.text.MAX_RECORD_BYTES", 1 << 20)
    place.drop("a.csv", b"a,b\n1,2\n3," + b"x" * (3 << 20))
    with pytest.raises(DataError, match="line of over 1 MiB"):
        place.ingest(piece_rows=1)


def test_broken_json_lines_are_set_aside_as_they_are(place: Any) -> None:
    lines = [
        '{"a": 1, "b": "x"}', '{"a": ', "5", '{"a": 2, "b": 7}', '{"a": NaN}', "", '{"b": "z"}',
    ]  # fmt: skip
    place.drop("a.jsonl", "\n".join(lines))
    assert place.ingest().num_rows == 6
    assert place.malformed() == ['{"a": ', "5", '{"a": NaN}']
    assert place.rows()["a"].to_list() == [1, None, None, 2, None, None]


def test_a_json_value_of_the_wrong_type_sets_its_row_aside(place: Any) -> None:
    place.drop("1.jsonl", '{"a": 1}\n')
    place.drop("2.jsonl", '{"a": "one"}\n{"a": 2}\n{"a": 2.5}\n')
    place.ingest()
    assert place.malformed() == ['{"a": "one"}', '{"a": 2.5}']


def test_a_parquet_value_of_the_wrong_type_sets_its_row_aside(place: Any) -> None:
    place.drop("1.parquet", pl.DataFrame({"a": [1], "b": ["x"]}))
    place.drop("2.parquet", pl.DataFrame({"a": ["7", "eight"], "b": ["y", "z"]}))
    place.ingest()
    assert place.rows()["a"].to_list() == [1, 7, None]
    assert place.malformed() == ['{"a":"eight","b":"z"}']


@pytest.mark.parametrize(
    ("lines", "values"),
    [
        (['{"a": 1}', '{"a": [1, 2]}', '{"a": null}'], ["1", "[1, 2]", None]),
        (['{"a": {"b": 1}}', '{"a": 5}'], ['{"b": 1}', "5"]),
        (['{"a": true}', '{"a": [1]}', '{"a": "x"}'], ["true", "[1]", "x"]),
    ],
)
def test_json_values_that_have_no_type_in_common_are_kept_as_text(
    place: Any, lines: list[str], values: list[str | None]
) -> None:
    place.drop("a.jsonl", "\n".join(lines) + "\n")
    place.ingest()
    assert place.rows()["a"].to_list() == values
    assert place.malformed() == []


@pytest.mark.parametrize("number", ["1e999", "9" * 60])
def test_a_json_number_past_all_numbers_sets_its_row_aside_and_no_other(
    place: Any, number: str
) -> None:
    bad = f'{{"a": {number}, "b": [1]}}'
    place.drop("1.jsonl", f'{{"a": 1, "b": 2}}\n{bad}\n{{"a": 3, "b": [4]}}\n')
    place.ingest()
    place.drop("2.jsonl", f'{{"a": 4, "b": 2}}\n{bad}\n')
    place.ingest()
    assert place.malformed() == [bad, bad]
    assert place.rows()["a"].to_list() == [1, None, 3, 4, None]
    assert place.rows()["b"].to_list() == ["2", None, "[4]", "2", None]


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_day_that_does_not_begin_with_its_year_is_set_aside_and_never_guessed_at(
    place: Any, ending: str
) -> None:
    def content(days: list[str]) -> str:
        if ending == "csv":
            return "day,n\n" + "".join(f"{day},1\n" for day in days)
        return "".join(f'{{"day": "{day}", "n": 1}}\n' for day in days)

    place.drop(f"1.{ending}", content(["2020-03-04", "2020-03-05"]))
    place.ingest()
    place.drop(f"2.{ending}", content(["03/04/2020", "05/06/2020"]))
    place.ingest()
    assert [day and f"{day:%Y-%m-%d}" for day in place.rows()["day"]] == [
        "2020-03-04", "2020-03-05", None, None,
    ]  # fmt: skip
    assert len(place.malformed()) == 2


def test_days_and_times_of_several_forms_in_one_column_are_all_read(place: Any) -> None:
    forms = ["2020-01-01", "2020-01-01T12:00:00+02:00", "2020-01-01 10:00", "2020-01-01T10:00:00.5"]
    place.drop("a.csv", "at,n\n" + "".join(f"{form},1\n" for form in forms))
    place.ingest()
    assert place.malformed() == []
    hours = [0.0, 10.0, 10.0, 10.0 + 0.5 / 3600]
    start = datetime(2020, 1, 1, tzinfo=UTC)
    assert place.rows()["at"].to_list() == [start + timedelta(hours=hour) for hour in hours]


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_names_that_differ_in_case_alone_are_refused(place: Any, name: str) -> None:
    rows = pl.DataFrame({"age": [1], "Age": [2]})
    place.drop(name, rows if name.endswith("parquet") else rows.write_csv())
    with pytest.raises(DataError, match="found columns 'age' and 'Age'"):
        place.ingest()


def test_a_later_files_name_that_differs_in_case_alone_is_refused(place: Any) -> None:
    place.drop("1.csv", "age,n\n1,1\n")
    place.ingest()
    place.drop("2.csv", "age,n,N\n1,1,2\n")
    with pytest.raises(DataError, match=r"file 2\.csv: found columns 'n' and 'N'"):
        place.ingest()
