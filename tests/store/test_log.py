import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from everloop.spec.errors import CorruptError
from everloop.spec.project import StoreSpec
from everloop.store.log import Log
from everloop.store.objects import Objects


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    objects = Objects.open(StoreSpec(url="state"), tmp_path)
    log = Log(objects, "log", now=lambda: datetime(2026, 1, 1, tzinfo=UTC))
    for number in range(4):
        log.append({"n": number})
    return objects


def test_an_entry_is_plain_json_with_its_time_and_the_digest_before(objects: Objects) -> None:
    first = json.loads(objects.get("log/00000001.json"))
    assert first == {
        "number": 1,
        "at": "2026-01-01T00:00:00.000000+00:00",
        "previous": "",
        "record": {"n": 0},
    }


@pytest.mark.parametrize("number", [1, 2, 3])
def test_any_changed_byte_of_an_older_entry_is_found(objects: Objects, number: int) -> None:
    path = f"log/{number:08d}.json"
    data = objects.get(path)
    for place in range(0, len(data), 7):
        changed = bytearray(data)
        changed[place] ^= 1
        objects.put(path, bytes(changed))
        with pytest.raises(CorruptError, match=r"log/0000000\d\.json"):
            Log(objects, "log").entries()
    objects.put(path, data)
    assert len(Log(objects, "log").entries()) == 4


def test_the_newest_entry_is_checked_against_the_one_before(objects: Objects) -> None:
    data = objects.get("log/00000003.json")
    objects.put("log/00000003.json", data.replace(b'"n": 2', b'"n": 9'))
    with pytest.raises(CorruptError, match="one of the two was changed"):
        Log(objects, "log").last()


def test_a_missing_entry_is_found(objects: Objects) -> None:
    objects.delete(["log/00000002.json"])
    log = Log(objects, "log")
    for _ in range(2):
        with pytest.raises(CorruptError, match=r"log/00000002\.json: missing"):
            log.entries()


def test_a_history_that_was_rewritten_or_cut_is_found_by_who_read_it(
    objects: Objects, tmp_path: Path
) -> None:
    rewritten, cut = Log(objects, "log"), Log(objects, "log")
    rewritten.last()
    cut.last()
    objects.delete(["log/00000004.json"])
    with pytest.raises(CorruptError, match=r"log/00000004\.json: it was read before"):
        cut.entries()
    other = Objects.open(StoreSpec(url="state"), tmp_path)
    Log(other, "log").append({"n": "another"})
    with pytest.raises(CorruptError, match=r"log/00000004\.json: it was read before"):
        rewritten.entries()


def test_an_entry_under_another_number_is_found(objects: Objects) -> None:
    objects.put("log/00000005.json", objects.get("log/00000004.json"))
    with pytest.raises(CorruptError, match="found entry 4, expected 5"):
        Log(objects, "log").last()


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{}", b"[" * 100_000, b"\xff", b"1e999"])
def test_bytes_that_are_no_entry_are_refused(objects: Objects, data: bytes) -> None:
    objects.put("log/00000005.json", data)
    with pytest.raises(CorruptError, match=r"log/00000005\.json"):
        Log(objects, "log").last()


def test_a_record_of_endless_numbers_is_refused(objects: Objects) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        Log(objects, "log").append({"n": float("nan")})
    assert len(Log(objects, "log").entries()) == 4


def test_polling_costs_one_probe(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(objects, "log")
    log.last()
    probed: list[str] = []

    def get(path: str) -> bytes:
        probed.append(path)
        raise KeyError(path)

    monkeypatch.setattr(objects, "get", get)
    monkeypatch.setattr(objects, "list", None)
    for _ in range(3):
        entry = log.last()
        assert entry is not None
        assert entry.number == 4
    assert probed == ["log/00000005.json"] * 3
