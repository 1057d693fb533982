import hashlib
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from everloop.spec.errors import ConflictError, CorruptError, DataError
from everloop.store.log import Entry, Log
from everloop.store.objects import Objects

Reopen = Callable[[], Objects]


def test_what_is_put_is_there_for_the_next_process(objects: Objects, reopen: Reopen) -> None:
    objects.put("a/b.json", b"one")
    objects.put("a/b.json", b"two")
    assert reopen().get("a/b.json") == b"two"


def test_an_absent_object_is_a_key_error(objects: Objects) -> None:
    objects.put("a/b", b"")
    for path in ("nothing", "a", "a/b/c", "a/c"):
        with pytest.raises(KeyError):
            objects.get(path)
        with pytest.raises(KeyError):
            objects.digest(path)


def test_a_second_put_new_conflicts_and_changes_nothing(objects: Objects) -> None:
    objects.put_new("a/1", b"first")
    with pytest.raises(ConflictError, match="another writer was first"):
        objects.put_new("a/1", b"second")
    assert objects.get("a/1") == b"first"


def test_one_of_many_racing_put_new_wins(objects: Objects, reopen: Reopen) -> None:
    winners: list[int] = []

    def race(number: int) -> None:
        try:
            reopen().put_new("a/1", str(number).encode())
            winners.append(number)
        except ConflictError:
            pass

    _run_all([threading.Thread(target=race, args=(number,)) for number in range(8)])
    assert [str(number).encode() for number in winners] == [objects.get("a/1")]


def test_a_folder_is_listed_with_sizes_and_times_and_without_its_neighbours(
    objects: Objects,
) -> None:
    for path in ("a/b/2", "a/b/1", "a/bc", "b"):
        objects.put(path, b"four")
    found = objects.list("a/b")
    assert [info.path for info in found] == ["a/b/1", "a/b/2"]
    assert [info.size_bytes for info in found] == [4, 4]
    assert all(abs(info.modified - datetime.now(UTC)) < timedelta(minutes=1) for info in found)
    assert objects.list("nothing") == []
    assert [info.path for info in objects.list()] == ["a/b/1", "a/b/2", "a/bc", "b", "store.json"]


def test_deleting_is_fine_with_absent_objects(objects: Objects) -> None:
    objects.put("a/1", b"x")
    objects.delete(["a/1", "a/2"])
    objects.delete([])
    assert objects.list("a") == []


def test_a_file_is_moved_in_and_its_digest_is_of_its_bytes(objects: Objects) -> None:
    source = objects.temporary(".bin")
    source.write_bytes(b"x" * (9 << 20))
    objects.put_file("a/file.bin", source)
    assert not source.exists()
    assert objects.get("a/file.bin") == b"x" * (9 << 20)
    assert objects.digest("a/file.bin") == hashlib.sha256(b"x" * (9 << 20)).hexdigest()


def test_a_newer_store_is_refused(objects: Objects, reopen: Reopen) -> None:
    objects.put("store.json", b'{"format": 99}')
    with pytest.raises(DataError, match=r"format 99.*install the everloop"):
        reopen()


def test_a_damaged_format_is_refused(objects: Objects, reopen: Reopen) -> None:
    objects.put("store.json", b'{"format": "on\x00e"}')
    with pytest.raises(CorruptError, match=r"store\.json"):
        reopen()


def test_a_log_numbers_its_records_from_one(objects: Objects, reopen: Reopen) -> None:
    log = Log(objects, "routes/m")
    assert (log.last(), log.entries()) == (None, [])
    first, second = log.append({"a": 1}), log.append({"b": [None, "ü"]})
    found = Log(reopen(), "routes/m")
    assert found.entries() == [first, second]
    assert found.last() == second
    assert found.entries(after=1) == [second]
    assert (first.number, second.number, second.previous) == (1, 2, first.digest)


def test_a_reader_sees_entries_that_others_append(objects: Objects, reopen: Reopen) -> None:
    reader, writer = Log(reopen(), "routes/m"), Log(objects, "routes/m")
    for number in range(3):
        entry = writer.append({"n": number})
        assert reader.last() == entry
    assert [entry.record["n"] for entry in reader.entries()] == [0, 1, 2]


def test_an_append_that_expects_another_number_conflicts(objects: Objects, reopen: Reopen) -> None:
    log, other = Log(objects, "log"), Log(reopen(), "log")
    log.append({}, expect=0)
    with pytest.raises(ConflictError, match="the last entry is 1, expected 0"):
        other.append({}, expect=0)
    assert other.append({}, expect=1).number == 2


def test_racing_appends_all_land_in_one_chain(reopen: Reopen) -> None:
    def append(writer: int) -> None:
        log = Log(reopen(), "log")
        for number in range(5):
            log.append({"writer": writer, "n": number})

    _run_all([threading.Thread(target=append, args=(writer,)) for writer in range(4)])
    found: list[Entry] = Log(reopen(), "log").entries()
    assert [entry.number for entry in found] == list(range(1, 21))
    rows = sorted((entry.record["writer"], entry.record["n"]) for entry in found)
    assert rows == [(writer, n) for writer in range(4) for n in range(5)]


def _run_all(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
