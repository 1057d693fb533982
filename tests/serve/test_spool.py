import os
from pathlib import Path

import pytest

from everloop.serve.spool import Journal, Spool, is_dead, segments
from everloop.spec.errors import UnavailableError


def contents(directory: Path) -> list[tuple[int, bytes]]:
    return [(start, path.read_bytes()) for start, path in segments(directory)]


def test_segments_are_named_after_the_byte_they_start_at(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "r", segment_bytes=8)
    for line in (b"aaaa\n", b"bbbb\n", b"cccc\n"):
        assert journal.append(line)
    assert contents(tmp_path / "r") == [(0, b"aaaa\nbbbb\n"), (10, b"cccc\n")]
    assert journal.offset == 15
    journal.close()


def test_a_directory_is_locked_as_long_as_its_replica_lives(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "r", segment_bytes=8)
    assert not is_dead(tmp_path / "r")
    journal.close()
    assert is_dead(tmp_path / "r")


def test_a_full_disk_leaves_no_half_line_and_heals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path / "r", segment_bytes=100)
    assert journal.append(b"aaaa\n")
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:2]))
    assert not journal.append(b"bbbb\n")
    monkeypatch.undo()
    assert journal.append(b"cccc\n")
    assert contents(tmp_path / "r") == [(0, b"aaaa\ncccc\n")]
    journal.close()


def test_a_write_that_fails_is_told_as_the_disk_and_serving_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int, __: bytes) -> int:
        raise OSError(28, "No space left on device")

    spool = Spool(tmp_path, "r", max_bytes=1000, now_us=lambda: 0)
    monkeypatch.setattr(os, "write", full)
    assert spool.add_predictions([b"a\n"]) == "disk"
    monkeypatch.undo()
    assert spool.add_predictions([b"a\n"]) is None
    spool.close()


def test_the_bound_is_on_what_all_replicas_leave(tmp_path: Path) -> None:
    first = Spool(tmp_path, "a", max_bytes=100, now_us=lambda: 0)
    assert first.add_predictions([b"x" * 79 + b"\n"]) is None
    second = Spool(tmp_path, "b", max_bytes=100, now_us=lambda: 0)
    assert second.add_predictions([b"x" * 79 + b"\n"]) == "full"
    segments(tmp_path / "predictions" / "a")[0][1].unlink()
    second.measure()
    assert second.add_predictions([b"x" * 79 + b"\n"]) is None
    first.close()
    second.close()


def test_a_spool_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file")
    with pytest.raises(UnavailableError, match=r"serve\.spool: cannot write"):
        Spool(tmp_path / "spool", "r", max_bytes=100, now_us=lambda: 0)
