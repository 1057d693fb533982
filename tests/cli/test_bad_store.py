"""A store or port that cannot be used, and bytes that rotted: told, and mended it goes on."""

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.projects import edit, everloop, rows

READING = [("models",), ("decisions",), ("lineage",), ("quarantine",), ("run",), ("gc",)]


@contextmanager
def _taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield int(taken.getsockname()[1])


@pytest.mark.parametrize("words", [("serve",), ("report",)])
def test_a_port_that_is_taken_is_told(shop: Path, words: tuple[str, ...]) -> None:
    with _taken_port() as port:
        done = everloop(*words, "--port", str(port), cwd=shop)
    assert done.code == 1
    for part in ("127.0.0.1", str(port), "0 takes a free one"):
        assert part in done.err
    assert "taken by another" in done.err or "already in use" in done.err


@pytest.mark.parametrize("section", ["serve", "console"])
def test_up_names_the_setting_of_a_port_that_is_taken(shop: Path, section: str) -> None:
    with _taken_port() as port:
        edit(shop / "everloop.toml", f"[{section}]\nport = 0", f"[{section}]\nport = {port}")
        done = everloop("up", cwd=shop)
    assert done.code == 1
    assert f"{section}.port: cannot listen on 127.0.0.1 port {port}" in done.err
    assert "0 takes a free one" in done.err
    assert "server" not in done.out


@pytest.mark.parametrize("words", [*READING, ("serve",), ("up",), ("doctor",)])
def test_a_store_under_a_file_is_told_and_another_place_goes_on(
    new_shop: Path, words: tuple[str, ...]
) -> None:
    with (new_shop / "everloop.toml").open("a") as file:
        file.write('\n[store]\nurl = "data/a.csv/store"\n')
    done = everloop(*words, cwd=new_shop)
    assert done.code == 1
    assert "data/a.csv/store" in done.text
    assert "Not a directory" in done.text
    if words == ("run",):
        edit(new_shop / "everloop.toml", "data/a.csv/store", "store")
        assert everloop("run", cwd=new_shop).code == 0


def test_a_store_that_may_only_be_read_is_told(shop: Path) -> None:
    with _mounted(shop / "ro", "--bind", str(shop / ".everloop")) as place:
        if _call("mount", "-o", "remount,bind,ro", str(place)):
            pytest.skip("this machine does not let us mount read-only")
        edit(shop / "everloop.toml", "[gate]", '[store]\nurl = "./ro"\n\n[gate]')
        (shop / "data" / "b.csv").write_text(rows(50, start=400))
        done = everloop("run", cwd=shop)
        assert done.code == 1
        assert "Read-only file system" in done.err
        assert "1        champion" in everloop("models", cwd=shop).out
    edit(shop / "everloop.toml", '"./ro"', '"./.everloop"')
    assert "kept 50" in everloop("run", cwd=shop).out


@pytest.mark.parametrize("ballast_bytes", [200_000, 235_000])
def test_a_full_disk_is_told_and_with_space_the_turn_goes_on(
    new_shop: Path, ballast_bytes: int
) -> None:
    with _mounted(new_shop / "disk", "-t", "tmpfs", "-o", "size=256k", "tmpfs") as place:
        edit(new_shop / "everloop.toml", "[gate]", '[store]\nurl = "./disk/store"\n\n[gate]')
        (place / "ballast").write_bytes(bytes(ballast_bytes))
        done = everloop("run", cwd=new_shop)
        assert done.code == 1
        assert str(place / "store") in done.err
        assert "the disk is full" in done.err
        assert "free some space" in done.err
        (place / "ballast").unlink()
        if _call("mount", "-o", "remount,size=64m", str(place)):
            pytest.skip("this machine does not let us grow the disk")
        mended = everloop("run", cwd=new_shop)
        assert mended.code == 0, mended.text
        assert everloop("models", "--json", cwd=new_shop).json[0]["aliases"] == ["champion"]


def _call(*command: str) -> int:
    return subprocess.run(command, check=False, capture_output=True, timeout=30).returncode


@contextmanager
def _mounted(place: Path, *what: str) -> Iterator[Path]:
    place.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None or _call("mount", *what, str(place)):
        pytest.skip("this machine does not let us mount a file system")
    try:
        yield place
    finally:
        _call("umount", str(place))


def test_a_project_that_is_not_there_is_told(tmp_path: Path) -> None:
    for words in (("run",), ("run", "--project", "nowhere"), ("serve", "-p", "no/such.toml")):
        done = everloop(*words, cwd=tmp_path)
        assert done.code == 2
        assert "no such file; run `everloop init`" in done.err


def test_a_project_file_that_cannot_be_read_is_told(tmp_path: Path, new_shop: Path) -> None:
    path = new_shop / "everloop.toml"
    good = path.read_bytes()
    path.write_bytes(good + b"\xff")
    done = everloop("run", cwd=new_shop)
    assert done.code == 2
    assert "not UTF-8; save the file as UTF-8" in done.err
    path.unlink()
    path.symlink_to(path)
    done = everloop("run", "-p", str(path), cwd=tmp_path)
    assert done.code == 2
    assert "cannot be read" in done.err


@pytest.mark.parametrize("words", [*READING, ("serve",), ("report",), ("up",), ("doctor",)])
def test_a_store_of_a_newer_format_is_left_alone(shop: Path, words: tuple[str, ...]) -> None:
    (shop / ".everloop" / "store.json").write_text('{"format": 99}')
    done = everloop(*words, cwd=shop)
    assert done.code == 1
    assert "the store has format 99, this everloop knows up to 1; install" in done.text


def _flip(path: Path) -> bytes:
    whole = path.read_bytes()
    path.write_bytes(whole[:40] + bytes([whole[40] ^ 1]) + whole[41:])
    return whole


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json"])
def test_a_bundle_with_a_flipped_bit_is_never_used(shop: Path, name: str) -> None:
    [path] = (shop / ".everloop" / "bundles").glob(f"*/{name}")
    whole = _flip(path)
    (shop / "in.csv").write_text(rows(3))
    for words in (("predict", "in.csv", "out.csv"), ("lineage",)):
        done = everloop(*words, cwd=shop)
        assert done.code == 1
        assert name in done.err
        assert "sha256" in done.err
        assert "restore" in done.err
    assert not (shop / "out.csv").exists()
    path.write_bytes(whole)
    assert everloop("predict", "in.csv", "out.csv", cwd=shop).code == 0


def test_a_table_file_with_a_flipped_bit_is_never_read(shop: Path) -> None:
    [path] = (shop / ".everloop" / "tables" / "clean" / "main").glob("*.parquet")
    whole = _flip(path)
    (shop / "data" / "b.csv").write_text(rows(50, start=400))
    done = everloop("run", cwd=shop)
    assert done.code == 1
    assert path.name in done.err
    assert "restore" in done.err
    assert everloop("models", "--json", cwd=shop).json[0]["aliases"] == ["champion"]
    path.write_bytes(whole)
    assert everloop("run", cwd=shop).code in (0, 3)


def test_a_record_of_the_trail_that_was_changed_is_told(shop: Path) -> None:
    [path, *_] = sorted((shop / ".everloop" / "decisions" / "shop").glob("*.json"))
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record).replace("everloop run", "by nobody"))
    done = everloop("decisions", cwd=shop)
    assert done.code == 1
    assert "decisions/shop/00000002.json" in done.err
    assert "one of the two was changed: restore them" in done.err


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (",price,", ",cost,", ("'price'", "missing", "id, at, cost")),
        ("1.0,", "cheap,", ()),
    ],
)
def test_rows_to_score_that_lack_something_are_told(
    shop: Path, old: str, new: str, says: tuple[str, ...]
) -> None:
    text = "id,at,price,colour\n1,2026-01-01T00:00:00Z,1.0,red\n".replace(old, new)
    (shop / "in.csv").write_text(text)
    done = everloop("predict", "in.csv", "out.csv", cwd=shop)
    assert done.code == 1
    for part in (*says, "column"):
        assert part in done.err
    assert not (shop / "out.csv").exists()


@pytest.mark.parametrize("colour", ["puce", "", "7"])
def test_a_category_that_was_never_seen_is_scored(shop: Path, colour: str) -> None:
    (shop / "in.csv").write_text(f"price,colour\n1.0,{colour}\n9.0,{colour}\n")
    done = everloop("predict", "in.csv", "out.csv", cwd=shop)
    assert done.code == 0, done.text
    low, high = (shop / "out.csv").read_text().splitlines()[1:]
    assert float(low.split(",")[-1]) > float(high.split(",")[-1])


@pytest.mark.parametrize(
    ("source", "target", "says"),
    [
        ("in.csv", "out.xls", "expected .parquet, .csv or .jsonl"),
        ("in.csv", "no/out.csv", "no folder"),
        ("everloop.toml", "out.csv", "expected one of .parquet, .csv, .jsonl"),
        ("broken.parquet", "out.csv", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_scored_is_told(
    shop: Path, source: str, target: str, says: str
) -> None:
    (shop / "in.csv").write_text(rows(3))
    (shop / "broken.parquet").write_bytes(b"PAR1 not at all")
    done = everloop("predict", source, target, cwd=shop)
    assert done.code == 1
    assert says in done.err
