from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from everloop.spec.errors import ConflictError, CorruptError, DataError
from everloop.spec.project import StoreSpec
from everloop.store.objects import Objects
from everloop.store.table import Table
from everloop.store.tables import Tables

OpenTable = Callable[[], Table]


@pytest.fixture
def open_table(store_spec: StoreSpec, tmp_path: Path) -> OpenTable:
    """Open the same table again, as another process would."""
    return lambda: Tables(Objects.open(store_spec, tmp_path), store_spec).table("raw/main")


def frame(*numbers: int) -> pl.DataFrame:
    return pl.DataFrame({"n": pl.Series(numbers, dtype=pl.Int64)})


def numbers(table: Table, version: int | None = None) -> list[int]:
    return table.scan(version).collect()["n"].to_list()


def test_a_table_that_does_not_exist_is_empty(open_table: OpenTable) -> None:
    table = open_table()
    assert (table.version(), table.offset("a"), table.num_rows()) == (-1, -1, 0)
    assert table.scan().collect().is_empty()
    table.compact()


def test_rows_are_read_in_the_order_they_came(open_table: OpenTable) -> None:
    table = open_table()
    assert [table.append(frame(i, i + 10)) for i in range(4)] == [0, 1, 2, 3]
    assert numbers(open_table()) == [0, 10, 1, 11, 2, 12, 3, 13]
    assert open_table().num_rows() == 8


def test_an_older_version_is_still_read(open_table: OpenTable) -> None:
    table = open_table()
    for i in range(3):
        table.append(frame(i))
    assert numbers(table, 1) == [0, 1]
    assert table.num_rows(0) == 1
    for version in (-1, 3):
        with pytest.raises(KeyError, match="the newest is 2"):
            table.scan(version)


def test_an_offset_that_is_committed_is_not_committed_again(open_table: OpenTable) -> None:
    table = open_table()
    table.append(frame(1), app="source", offset=5)
    for offset in (5, 4, 0):
        assert table.append(frame(9), app="source", offset=offset) == 0
        assert open_table().append(frame(9), app="source", offset=offset) == 0
    assert (numbers(table), open_table().offset("source")) == ([1], 5)


def test_of_two_writers_of_one_app_the_slower_conflicts(open_table: OpenTable) -> None:
    table = open_table()
    table.append(frame(0), app="source", offset=0)

    def overtake(rows: pl.DataFrame) -> pl.DataFrame:
        open_table().append(frame(1), app="source", offset=1)
        return rows

    slow = frame(1).lazy().map_batches(overtake, schema=pl.Schema({"n": pl.Int64}))
    with pytest.raises(ConflictError, match="another writer committed 'source' at 1, expected 0"):
        table.append(slow, app="source", offset=1)
    assert numbers(table) == [0, 1]
    assert len(table.files()) == 2


def test_of_two_first_writers_of_one_app_the_slower_conflicts(open_table: OpenTable) -> None:
    def overtake(rows: pl.DataFrame) -> pl.DataFrame:
        open_table().append(frame(1), app="source", offset=7)
        return rows

    slow = frame(1).lazy().map_batches(overtake, schema=pl.Schema({"n": pl.Int64}))
    with pytest.raises(ConflictError, match="at 7, expected -1"):
        open_table().append(slow, app="source", offset=7)
    assert numbers(open_table()) == [1]


def test_writers_of_different_apps_all_land(open_table: OpenTable) -> None:
    def write(app: int) -> None:
        table = open_table()
        for offset in range(5):
            table.append(frame(app * 100 + offset), app=f"app-{app}", offset=offset)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    found = sorted(numbers(open_table()))
    assert found == [app * 100 + offset for app in range(4) for offset in range(5)]
    assert [open_table().offset(f"app-{app}") for app in range(4)] == [4, 4, 4, 4]


def test_equal_rows_are_kept_each_time(open_table: OpenTable) -> None:
    table = open_table()
    table.append(frame(1))
    table.append(frame(1))
    assert numbers(table) == [1, 1]


def test_a_new_column_is_null_in_older_rows(open_table: OpenTable) -> None:
    table = open_table()
    table.append(frame(1))
    table.append(frame(2).with_columns(text=pl.lit("x")))
    table.append(frame(3))
    expected = {"n": [1, 2, 3], "text": [None, "x", None]}
    assert open_table().scan().collect().to_dict(as_series=False) == expected


def test_writers_that_add_different_columns_at_once_both_land(open_table: OpenTable) -> None:
    open_table().append(frame(0))

    def overtake(rows: pl.DataFrame) -> pl.DataFrame:
        open_table().append(frame(1).with_columns(b=pl.lit(1.5)))
        return rows

    schema = pl.Schema({"n": pl.Int64, "a": pl.String})
    slow = frame(2).with_columns(a=pl.lit("x")).lazy().map_batches(overtake, schema=schema)
    open_table().append(slow)
    found = open_table().scan().collect().sort("n").to_dict(as_series=False)
    assert found == {"n": [0, 1, 2], "b": [None, 1.5, None], "a": [None, None, "x"]}


def test_a_column_of_another_type_is_refused_by_name(open_table: OpenTable) -> None:
    table = open_table()
    table.append(frame(1), app="source", offset=0)
    with pytest.raises(DataError, match="column 'n' has type String, expected Int64"):
        table.append(pl.DataFrame({"n": ["x"]}), app="source", offset=1)
    assert (table.version(), table.offset("source")) == (0, 0)


def test_an_offset_is_committed_even_without_rows(open_table: OpenTable) -> None:
    table = open_table()
    table.append(frame(), app="source", offset=0)
    table.append(frame(1), app="source", offset=1)
    table.append(frame(), app="source", offset=2)
    assert (numbers(table), open_table().offset("source"), len(table.files())) == ([1], 2, 1)


def test_every_time_is_read_as_microseconds_in_utc(open_table: OpenTable) -> None:
    table = open_table()
    noon = datetime(2026, 1, 1, 12)  # noqa: DTZ001 - a time without a zone is the point
    times = pl.DataFrame({"t": [noon]})
    table.append(times.with_columns(pl.col("t").cast(pl.Datetime("ns"))))
    table.append(times.with_columns(pl.col("t").dt.replace_time_zone("Asia/Tokyo")))
    found = table.scan().collect()["t"]
    assert found.dtype == pl.Datetime("us", "UTC")
    assert found.to_list() == [datetime(2026, 1, 1, hour, tzinfo=UTC) for hour in (12, 3)]


def test_compacting_keeps_rows_order_offsets_and_older_versions(open_table: OpenTable) -> None:
    table = open_table()
    for i in range(6):
        table.append(frame(i), app="source", offset=i)
    table.compact()
    again = open_table()
    assert len(again.files()) == 1
    assert (numbers(again), again.offset("source")) == ([0, 1, 2, 3, 4, 5], 5)
    assert numbers(again, 2) == [0, 1, 2]
    again.append(frame(6), app="source", offset=6)
    assert numbers(again) == [0, 1, 2, 3, 4, 5, 6]
    with pytest.raises(ConflictError):
        _append_between(table, again)


def _append_between(table: Table, other: Table) -> None:
    def overtake(rows: pl.DataFrame) -> pl.DataFrame:
        other.append(frame(7), app="source", offset=7)
        return rows

    slow = frame(7).lazy().map_batches(overtake, schema=pl.Schema({"n": pl.Int64}))
    table.append(slow, app="source", offset=7)


def test_appends_land_while_another_process_compacts(open_table: OpenTable) -> None:
    for i in range(5):
        open_table().append(frame(i))

    def compact(_: int) -> None:
        open_table().compact()

    def append(number: int) -> None:
        open_table().append(frame(number), app=f"app-{number}", offset=0)

    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(compact, 0), *(pool.submit(append, n) for n in range(5, 9))]
        done.append(pool.submit(compact, 1))
        for future in done:
            future.result()
    assert sorted(numbers(open_table())) == list(range(9))


def test_a_changed_file_is_found_before_it_is_read(
    open_table: OpenTable, store_spec: StoreSpec, tmp_path: Path
) -> None:
    table = open_table()
    table.append(frame(1, 2, 3))
    path = f"{table.folder}/{table.files()[0].name}"
    objects = Objects.open(store_spec, tmp_path)
    data = bytearray(objects.get(path))
    data[len(data) // 2] ^= 1
    objects.put(path, bytes(data))
    with pytest.raises(CorruptError, match="its sha256 is"):
        open_table().scan()
    objects.delete([path])
    with pytest.raises(CorruptError, match="missing"):
        open_table().scan()


def test_tables_are_found_by_name(store_spec: StoreSpec, tmp_path: Path) -> None:
    tables = Tables(Objects.open(store_spec, tmp_path), store_spec)
    for name in ("raw/main", "labels"):
        tables.table(name).append(frame(1))
    assert tables.names() == ["labels", "raw/main"]
    assert tables.table("labels") is tables.table("labels")
    with pytest.raises(ValueError, match="expected names"):
        tables.table("../outside")
