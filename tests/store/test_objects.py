import errno
import os
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloop.spec.errors import ProjectError, UnavailableError
from everloop.spec.project import StoreSpec
from everloop.store import durable
from everloop.store.objects import Objects, check_path


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects.open(StoreSpec(url="state"), tmp_path)


def test_a_relative_url_starts_at_the_project_file(tmp_path: Path) -> None:
    objects = Objects.open(StoreSpec(url="./state"), tmp_path)
    assert objects.url == str(tmp_path / "state")
    assert objects.local_path("a/b") == tmp_path / "state/a/b"
    assert Objects.open(StoreSpec(url=f"file://{tmp_path}/x"), Path()).url == str(tmp_path / "x")


def test_opening_and_reading_create_nothing(objects: Objects, tmp_path: Path) -> None:
    assert objects.list() == []
    with pytest.raises(KeyError):
        objects.get("a")
    assert list(tmp_path.iterdir()) == []


def test_only_this_user_may_look_inside(objects: Objects, tmp_path: Path) -> None:
    objects.put("a/b", b"")
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "state").rglob("*")}
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert modes == {0o700, 0o600}


def test_an_unknown_scheme_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"store\.url: found 'ftp://x', expected a directory"):
        Objects.open(StoreSpec(url="ftp://x"), tmp_path)


_OUTSIDE = """
/ /a a/ a//b . .. a/../b a/.b ~ a\\b a%2e a#1 é a:b C: -a ../etc/passwd
a/b/../../.. x/.. con: \u2024\u2024/a
"""


@pytest.mark.parametrize(
    "path", ["", *_OUTSIDE.split(), "a b", "a\0b", "a\n", "\na", "x" * 256, "a/" * 500 + "a"]
)
def test_a_path_that_could_leave_the_store_is_refused(objects: Objects, path: str) -> None:
    for call in (objects.get, objects.digest, objects.local_path):
        with pytest.raises(ValueError, match="expected names"):
            call(path)
    for write in (objects.put, objects.put_new):
        with pytest.raises(ValueError, match="expected names"):
            write(path, b"")


@given(st.text(alphabet="ab/.\\~%:\0\u2024\uff0e-_ \n", max_size=20))
def test_a_path_that_is_taken_stays_below_the_store(path: str) -> None:
    try:
        check_path(path)
    except ValueError:
        return
    assert os.path.normpath(f"/state/{path}") == f"/state/{path}"
    assert path.isascii()


def test_a_full_disk_says_what_to_do_and_leaves_the_old_object(
    objects: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects.put("a/b", b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for write in (objects.put, objects.put_new):
        with pytest.raises(UnavailableError, match=r"state/a.*the disk is full; free some space"):
            write("a/b", b"new")
    monkeypatch.undo()
    assert objects.get("a/b") == b"old"
    assert list((tmp_path / "state/.tmp").iterdir()) == []


def test_a_place_where_no_directory_can_be_says_so_before_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match=r"file/state.*Not a directory"):
        Objects.open(StoreSpec(url="file/state"), tmp_path)


def test_a_place_that_is_no_longer_a_directory_says_so_when_it_is_written(tmp_path: Path) -> None:
    objects = Objects.open(StoreSpec(url="file/state"), tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match=r"file/state.*Not a directory"):
        objects.put("a", b"")


def test_a_forbidden_place_says_what_to_do() -> None:
    message = "give this user the right to use it"
    with pytest.raises(UnavailableError, match=message), durable.explained(Path("state")):
        raise PermissionError(errno.EACCES, "Permission denied")


def test_bytes_are_synced_before_the_name_and_the_name_before_the_answer(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects.put("a/first", b"")
    done: list[str] = []
    real_fsync, real_replace = os.fsync, Path.replace

    def fsync(handle: int) -> None:
        done.append("sync " + ("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file"))
        real_fsync(handle)

    def replace(source: Path, target: Path) -> Path:
        done.append("rename")
        return real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    objects.put("a/second", b"x")
    assert done == ["sync file", "rename", "sync folder"]


def test_leftovers_of_killed_writers_are_found_and_swept(objects: Objects, tmp_path: Path) -> None:
    objects.put("tables/t/_delta_log/1", b"")
    left = [tmp_path / "state/.tmp/1-ab", tmp_path / "state/tables/t/_delta_log/2.json#1"]
    for path in left:
        path.write_bytes(b"half")
    later = datetime.now(UTC) + timedelta(minutes=1)
    assert objects.abandoned(datetime.now(UTC) - timedelta(minutes=1)) == []
    found = objects.abandoned(later)
    assert [(info.path, info.size_bytes) for info in found] == [
        (".tmp/1-ab", 4),
        ("tables/t/_delta_log/2.json#1", 4),
    ]
    objects.sweep(found)
    assert objects.abandoned(later) == []
    assert [info.path for info in objects.list("tables")] == ["tables/t/_delta_log/1"]


def test_what_a_replica_imports_is_light() -> None:
    code = (
        "import sys, everloop.store.objects, everloop.store.log, everloop.store.bundles, "
        "everloop.store.lease, everloop.registry.routes, everloop.registry.versions; "
        "heavy = {'polars', 'deltalake', 'pyarrow', 'numpy', 'obstore'} & set(sys.modules); "
        "print(*sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.stdout.split() == []
    assert done.returncode == 0


def test_an_unreachable_bucket_says_what_to_check_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVERLOOP_TEST_KEY", "canary")
    options = {
        "aws_endpoint": "http://127.0.0.1:9/canary",
        "aws_region": "us-east-1",
        "aws_access_key_id": "tester",
        "aws_secret_access_key": "${EVERLOOP_TEST_KEY}",
    }
    spec = StoreSpec.model_validate({"url": "s3://bucket", "options": options})
    with pytest.raises(UnavailableError, match=r"check store\.url, store\.options") as caught:
        Objects.open(spec, tmp_path)
    assert "canary" not in str(caught.value)
    assert "***" in str(caught.value)
