"""Stops the process at every durable step, one after another, and looks at what is left."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from everloop.registry.routes import Routes, RouteTarget
from everloop.spec.manifest import Manifest
from everloop.spec.project import StoreSpec
from everloop.store.bundles import Bundles, Draft
from everloop.store.log import Log
from everloop.store.objects import Objects
from everloop.store.tables import Tables

SPEC = StoreSpec(url="state")
STEPS = ((os, "fsync"), (os, "link"), (Path, "replace"), (Path, "unlink"), (Path, "mkdir"))


class CrashError(BaseException):
    """The process is gone: nothing that it would still do happens."""


class Crash:
    """Lets a number of durable steps happen, and none after them."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def before(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def crashing(*arguments: Any, **named: Any) -> Any:
            if self.steps == 0:
                raise CrashError
            self.steps -= 1
            return step(*arguments, **named)

        return crashing


def crashes(act: Callable[[Objects], object], root: Path) -> Iterator[Objects]:
    """Act, stopped before step 0, 1, 2, ... until it gets through; yield what is left each time."""
    for steps in range(200):
        crash, is_done = Crash(steps), False
        with pytest.MonkeyPatch.context() as patch:
            for owner, name in STEPS:
                patch.setattr(owner, name, crash.before(getattr(owner, name)))
            try:
                act(Objects.open(SPEC, root))
                is_done = True
            except CrashError:
                pass
        yield Objects.open(SPEC, root)
        if is_done:
            assert steps > 2
            return
    raise AssertionError("it never got through")


def test_an_object_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    Objects.open(SPEC, tmp_path).put("a/b", b"old")
    seen = [found.get("a/b") for found in crashes(lambda o: o.put("a/b", b"new"), tmp_path)]
    assert seen[0] == b"old"
    assert seen[-1] == b"new"
    assert seen == sorted(seen, key=[b"old", b"new"].index)


def test_a_log_has_each_number_once_and_a_whole_chain(tmp_path: Path) -> None:
    lengths = []
    for found in crashes(lambda o: Log(o, "log").append({"n": 1}), tmp_path):
        entries = Log(found, "log").entries()
        assert [entry.number for entry in entries] == list(range(1, len(entries) + 1))
        lengths.append(len(entries))
    assert lengths == sorted(lengths)
    assert lengths[-1] > 0


def test_a_route_is_published_or_not(tmp_path: Path) -> None:
    target = RouteTarget(version=1, bundle="a" * 64)
    for found in crashes(lambda o: Routes(o, "m").publish([target], reason="x"), tmp_path):
        route = Routes(found, "m").current()
        assert route is None or route.live == (target,)
    assert route is not None


def test_a_bundle_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    manifest = Manifest(
        name="m",
        task="binary",
        family="boosting",
        inputs=(),
        outputs=(),
        columns=(),
        project_digest="0" * 64,
        created_at="2026-01-01T00:00:00+00:00",
    )
    draft = Draft(manifest=manifest, files={"model.onnx": b"graph", "profile.json": b"{}"})
    for found in crashes(lambda o: Bundles(o).write(draft), tmp_path):
        digests = Bundles(found).list()
        assert [Bundles(found).open(digest).files for digest in digests] in ([], [draft.files])
    assert len(digests) == 1


def test_a_bundle_that_is_being_deleted_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    manifest = Manifest(
        name="m",
        task="binary",
        family="boosting",
        inputs=(),
        outputs=(),
        columns=(),
        project_digest="0" * 64,
        created_at="2026-01-01T00:00:00+00:00",
    )
    draft = Draft(manifest=manifest, files={f"f{i}": b"" for i in range(5)})
    digest = Bundles(Objects.open(SPEC, tmp_path)).write(draft).digest
    for found in crashes(lambda o: Bundles(o).delete(digest), tmp_path):
        assert all(Bundles(found).open(name) for name in Bundles(found).list())
    assert found.list("bundles") == []


def test_a_tables_rows_and_offset_are_committed_together(tmp_path: Path) -> None:
    def act(objects: Objects) -> None:
        table = Tables(objects, SPEC).table("raw/main")
        offset = table.offset("a") + 1
        table.append(pl.DataFrame({"n": [offset, offset]}), app="a", offset=offset)

    def check(found: Objects) -> int:
        table = Tables(found, SPEC).table("raw/main")
        offset = table.offset("a")
        rows = [number for number in range(offset + 1) for _ in range(2)]
        assert table.num_rows() == len(rows)
        assert not rows or table.scan().collect()["n"].to_list() == rows
        return offset

    offsets = [check(found) for found in crashes(act, tmp_path)]
    assert offsets == sorted(offsets)
    offsets = [check(found) for found in crashes(act, tmp_path)]
    assert len(set(offsets)) > 1


def test_compacting_keeps_the_rows_whenever_it_is_stopped(tmp_path: Path) -> None:
    table = Tables(Objects.open(SPEC, tmp_path), SPEC).table("raw/main")
    for number in range(3):
        table.append(pl.DataFrame({"n": [number]}), app="a", offset=number)

    def act(objects: Objects) -> None:
        Tables(objects, SPEC).table("raw/main").compact()

    for steps, found in enumerate(crashes(act, tmp_path)):
        again = Tables(found, SPEC).table("raw/main")
        assert again.scan().collect()["n"].to_list() == [0, 1, 2]
        assert again.offset("a") == 2
        if len(again.files()) == 1:  # done, though it was stopped while it was made durable
            assert steps > 2
            return
