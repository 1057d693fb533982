import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable

from everloop.spec.errors import CorruptError, DataError, UnavailableError
from everloop.spec.project import StoreSpec
from everloop.store import compaction, datafiles, delta
from everloop.store.compaction import group_small
from everloop.store.datafiles import DataFiles
from everloop.store.delta import CHECKPOINT_INTERVAL, DataFile
from everloop.store.objects import Objects
from everloop.store.table import Table
from everloop.store.tables import Tables

OpenTable = Callable[[], Table]
N = pl.Schema({"n": pl.Int64})


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects.open(StoreSpec(url="state"), tmp_path)


@pytest.fixture
def open_table(objects: Objects) -> OpenTable:
    return lambda: Tables(objects, StoreSpec(url="state")).table("raw/main")


def frame(*numbers: int) -> pl.DataFrame:
    return pl.DataFrame({"n": numbers}, schema=N)


def test_offsets_survive_checkpoints(open_table: OpenTable, objects: Objects) -> None:
    table = open_table()
    for offset in range(CHECKPOINT_INTERVAL + 5):
        table.append(frame(offset), app="often", offset=offset)
        if offset == 0:
            table.append(frame(-1), app="once", offset=7)
    log = objects.list("tables/raw/main/_delta_log")
    assert any(info.path.endswith(".checkpoint.parquet") for info in log)
    objects.delete([info.path for info in log if info.path.endswith("00.json")])
    again = open_table()
    assert (again.offset("often"), again.offset("once")) == (CHECKPOINT_INTERVAL + 4, 7)
    assert sorted(again.scan().collect()["n"]) == list(range(-1, CHECKPOINT_INTERVAL + 5))


def test_a_held_table_opens_again_so_that_commits_do_not_grow(
    open_table: OpenTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int | None] = []
    real = delta.open_table

    def count(objects: Objects, folder: str, version: int | None = None) -> DeltaTable | None:
        opened.append(version)
        return real(objects, folder, version)

    monkeypatch.setattr(delta, "open_table", count)
    table = open_table()
    for offset in range(3 * CHECKPOINT_INTERVAL):
        table.append(frame(), app="a", offset=offset) if offset else table.append(frame(0))
    assert len(opened) in (4, 5)


def test_a_file_is_named_by_its_digest_and_verified_once_in_a_process(
    open_table: OpenTable, objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_table().append(frame(1))
    table = open_table()
    hashed: list[str] = []
    real = objects.digest

    def digest(path: str) -> str:
        hashed.append(path)
        return real(path)

    monkeypatch.setattr(objects, "digest", digest)
    table.scan()
    table.scan()
    (file,) = table.files()
    assert hashed == [f"tables/raw/main/{file.name}"]
    assert file.name == f"part-{real(hashed[0])}.parquet"


def test_a_commit_that_everloop_did_not_write_is_refused(
    open_table: OpenTable, objects: Objects
) -> None:
    table = open_table()
    table.append(frame(1))
    local = objects.local_path("tables/raw/main")
    assert local is not None
    pl.DataFrame({"n": [2]}).write_delta(local, mode="append")
    for one in (table, open_table()):
        with pytest.raises(CorruptError, match="not a commit that everloop wrote"):
            one.scan()
    with pytest.raises(CorruptError, match="not a file that everloop wrote"):
        _ = DataFile("part-1.parquet", 1, 1, 1).digest


def test_rows_that_cannot_be_computed_change_nothing(open_table: OpenTable) -> None:
    table = open_table()
    table.append(frame(1), app="a", offset=0)
    text = pl.LazyFrame({"n": ["1", "x"]}).select(pl.col("n").cast(pl.Int64))
    with pytest.raises(DataError, match="the rows cannot be written: conversion from `str`"):
        table.append(text, app="a", offset=1)
    with pytest.raises(DataError, match=r"the rows cannot be computed: .*absent"):
        table.append(pl.LazyFrame({"n": [1]}).select("absent"))
    assert (table.version(), table.offset("a")) == (0, 0)


def test_a_full_disk_says_what_to_do_and_changes_nothing(
    open_table: OpenTable, objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = open_table()
    table.append(frame(1))
    monkeypatch.setattr(objects, "temporary", lambda _: Path("/dev/full"))
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    with pytest.raises(UnavailableError, match="the disk is full: free some space"):
        table.append(frame(2))
    monkeypatch.undo()
    assert table.scan().collect()["n"].to_list() == [1]


def test_a_damaged_log_is_found(open_table: OpenTable, objects: Objects) -> None:
    open_table().append(frame(1))
    path = "tables/raw/main/_delta_log/00000000000000000000.json"
    objects.put(path, objects.get(path)[:-20])
    with pytest.raises(CorruptError, match="raw/main"):
        open_table().scan()


def test_an_app_and_an_offset_belong_together(open_table: OpenTable) -> None:
    for wrong in ({"app": "a"}, {"offset": 1}, {"app": "a", "offset": -1}):
        arguments: dict[str, Any] = wrong
        with pytest.raises(ValueError, match="app and offset belong together"):
            open_table().append(frame(1), **arguments)


def test_metadata_is_kept_in_the_commit(open_table: OpenTable, objects: Objects) -> None:
    open_table().append(frame(1), metadata={"files": ["a.csv"]})
    commit = objects.get("tables/raw/main/_delta_log/00000000000000000000.json")
    assert b'"everloop":{"files":["a.csv"]}' in commit


def test_a_column_that_is_null_throughout_waits_for_its_type(open_table: OpenTable) -> None:
    table = open_table()
    nothing = pl.Series([None], dtype=pl.Null)
    table.append(frame(1).with_columns(x=nothing))
    table.append(frame(2).with_columns(x=pl.lit(1.5)))
    table.append(frame(3).with_columns(x=nothing))
    assert table.scan().collect()["x"].to_list() == [None, 1.5, None]


def test_a_table_is_not_made_without_columns(open_table: OpenTable) -> None:
    with pytest.raises(DataError, match="at least one column"):
        open_table().append(pl.DataFrame(), app="a", offset=0)
    assert open_table().version() == -1


def test_files_of_a_table_are_for_this_user_alone(open_table: OpenTable, objects: Objects) -> None:
    open_table().append(frame(1))
    local = objects.local_path("tables/raw/main")
    assert local is not None
    parts = [path for path in local.iterdir() if path.name.startswith("part-")]
    assert [path.stat().st_mode & 0o777 for path in parts] == [0o600]
    assert local.stat().st_mode & 0o777 == 0o700


def test_a_commit_is_synced_before_it_is_acknowledged(
    open_table: OpenTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = open_table()
    table.append(frame(1))
    synced: list[str] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        synced.append(Path(f"/proc/self/fd/{handle}").readlink().name.split(".")[-1])
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    table.append(frame(2))
    assert synced == ["parquet", "main", "json", "_delta_log"]


def test_neighbours_are_grouped_up_to_a_size() -> None:
    files = [DataFile(str(i), size, 1, i) for i, size in enumerate([4, 4, 9, 1, 1, 20, 2])]
    groups = [[file.name for file in group] for group in group_small(files, target_bytes=10)]
    assert groups == [["0", "1"], ["2", "3"]]


def test_of_two_compactions_at_once_one_does_nothing(
    open_table: OpenTable, objects: Objects
) -> None:
    for number in range(3):
        open_table().append(frame(number))
    held = delta.open_table(objects, "tables/raw/main")
    assert held is not None
    open_table().compact()
    files = DataFiles(objects, "tables/raw/main")
    assert compaction.compact("raw/main", held, files) is False
    assert open_table().scan().collect()["n"].to_list() == [0, 1, 2]


def test_a_large_frame_is_streamed_in_row_groups(
    open_table: OpenTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datafiles, "ROW_GROUP_ROWS", 100)
    table = open_table()
    table.append(pl.LazyFrame({"n": range(1000)}))
    assert table.scan().collect()["n"].to_list() == list(range(1000))
    assert table.num_rows() == 1000
