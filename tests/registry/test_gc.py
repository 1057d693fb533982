import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from everloop.registry.gc import GcReport, collect
from everloop.registry.routes import Routes, RouteTarget
from everloop.registry.versions import Registry
from everloop.spec.errors import CorruptError
from everloop.spec.manifest import DataVersion, Manifest
from everloop.spec.project import StoreSpec
from everloop.store.bundles import Bundles, Draft
from everloop.store.delta import CHECKPOINT_INTERVAL
from everloop.store.objects import Objects
from everloop.store.tables import Tables

SPEC = StoreSpec(url="state")
LATER = datetime.now(UTC) + timedelta(hours=1)
"""As `before`: nothing is young."""


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects.open(SPEC, tmp_path)


def bundle(objects: Objects, seed: int, *, name: str = "flights", data: int | None = None) -> str:
    manifest = Manifest(
        name=name,
        task="binary",
        family="boosting",
        inputs=(),
        outputs=(),
        columns=(),
        data=() if data is None else (DataVersion(table="clean/main", version=data),),
        project_digest="0" * 64,
        seed=seed,
        created_at="2026-01-01T00:00:00+00:00",
    )
    draft = Draft(manifest=manifest, files={"model.onnx": b"graph"})
    return Bundles(objects).write(draft).digest


def run(
    objects: Objects, keep: int = 1, *, dry: bool = False, before: datetime | None = LATER
) -> GcReport:
    return collect(objects, Tables(objects, SPEC), "flights", keep=keep, dry_run=dry, before=before)


def left(objects: Objects, names: Sequence[str]) -> list[int]:
    found = Bundles(objects).list()
    return [i for i, name in enumerate(names) if name in found]


def test_versions_that_an_alias_a_route_or_their_age_protects_stay(objects: Objects) -> None:
    names = [bundle(objects, seed) for seed in range(6)]
    registry = Registry(objects, "flights")
    for name in names:
        registry.register(name)
    registry.move({"champion": 2}, reason="x")
    target = RouteTarget(version=4, bundle=names[3])
    Routes(objects, "flights").publish([target], reason="x")
    report = run(objects)
    assert left(objects, names) == [1, 3, 5]
    assert report.kept_bundles == tuple(sorted(names[i] for i in (1, 3, 5)))
    assert {item.kind for item in report.freed} == {"bundle"}
    assert report.size_bytes > 3 * len(b"graph")
    assert len(registry.versions()) == 6


def test_the_champion_before_stays_so_that_it_can_come_back(objects: Objects) -> None:
    names = [bundle(objects, seed) for seed in range(4)]
    registry = Registry(objects, "flights")
    for number, name in enumerate(names, 1):
        registry.register(name)
        registry.move({"champion": number}, reason="x")
    run(objects, keep=2)
    assert left(objects, names) == [2, 3]


def test_the_newest_bundles_without_a_version_stay(objects: Objects) -> None:
    names = [bundle(objects, seed) for seed in range(3)]
    run(objects, keep=2)
    assert left(objects, names) == [1, 2]


def test_bundles_of_other_models_stay(objects: Objects) -> None:
    names = [bundle(objects, seed, name="other") for seed in range(3)]
    Registry(objects, "other").register(names[0])
    run(objects)
    assert left(objects, names) == [0, 1, 2]


def test_a_half_written_bundle_is_freed_once_it_is_old(objects: Objects) -> None:
    objects.put(f"bundles/{'1' * 64}/model.onnx", b"half")
    assert run(objects, before=None).freed == ()
    assert [item.size_bytes for item in run(objects).freed] == [4]
    assert objects.list("bundles") == []


def test_a_dry_run_says_the_same_and_removes_nothing(objects: Objects) -> None:
    for seed in range(3):
        bundle(objects, seed)
    before = objects.list()
    dry = run(objects, dry=True)
    assert objects.list() == before
    wet = run(objects)
    assert (dry.is_dry_run, dry.freed, dry.kept_bundles) == (True, wet.freed, wet.kept_bundles)
    assert len(wet.freed) == 4


def test_young_things_stay(objects: Objects) -> None:
    names = [bundle(objects, seed) for seed in range(3)]
    table = Tables(objects, SPEC).table("clean/main")
    for number in range(3):
        table.append(pl.DataFrame({"n": [number]}))
    table.compact()
    (objects.temporary()).write_bytes(b"half")
    assert run(objects, before=None).freed == ()
    assert left(objects, names) == [0, 1, 2]
    assert table.scan(1).collect()["n"].to_list() == [0, 1]


def test_what_a_reader_may_still_be_at_stays_after_a_merge(
    objects: Objects, tmp_path: Path
) -> None:
    table = Tables(objects, SPEC).table("clean/main")
    for number in range(3):
        table.append(pl.DataFrame({"n": [number]}))
    last_week = (datetime.now(UTC) - timedelta(days=7)).timestamp()
    for path in (tmp_path / "state/tables").rglob("*.*"):
        os.utime(path, (last_week, last_week))
    table.compact()
    assert run(objects, before=None).freed == ()
    assert Tables(objects, SPEC).table("clean/main").scan(2).collect()["n"].to_list() == [0, 1, 2]
    assert len(run(objects).freed) == 3


def test_table_files_that_a_kept_bundle_was_made_from_stay(objects: Objects) -> None:
    table = Tables(objects, SPEC).table("clean/main")
    for number in range(4):
        table.append(pl.DataFrame({"n": [number]}), app="a", offset=number)
    Registry(objects, "flights").register(bundle(objects, 1, data=1))
    table.compact()
    report = run(objects)
    assert [item.kind for item in report.freed] == ["table", "table"]
    again = Tables(objects, SPEC).table("clean/main")
    assert again.scan().collect()["n"].to_list() == [0, 1, 2, 3]
    assert again.scan(1).collect()["n"].to_list() == [0, 1]
    assert again.offset("a") == 3
    with pytest.raises(CorruptError, match="missing"):
        again.scan(3)


def test_a_file_that_no_commit_ever_named_is_freed(objects: Objects) -> None:
    table = Tables(objects, SPEC).table("raw/main")
    table.append(pl.DataFrame({"n": [1]}))
    orphan = f"tables/raw/main/part-{'0' * 64}.parquet"
    objects.put(orphan, b"x")
    (objects.temporary(".parquet")).write_bytes(b"half")
    assert [(item.kind, item.size_bytes) for item in run(objects).freed] == [
        ("table", 1),
        ("temporary", 4),
    ]
    assert table.scan().collect()["n"].to_list() == [1]


def test_commits_before_the_oldest_needed_checkpoint_are_freed(objects: Objects) -> None:
    table = Tables(objects, SPEC).table("raw/main")
    for number in range(2 * CHECKPOINT_INTERVAL + 3):
        table.append(pl.DataFrame({"n": [number]}, schema={"n": pl.Int64}), app="a", offset=number)
    report = run(objects)
    assert len([item for item in report.freed if "_delta_log" in item.path]) > CHECKPOINT_INTERVAL
    again = Tables(objects, SPEC).table("raw/main")
    assert again.scan().collect()["n"].to_list() == list(range(2 * CHECKPOINT_INTERVAL + 3))
    assert again.append(pl.DataFrame({"n": [-1]}), app="a", offset=1000) == again.version()
    assert run(objects).freed == ()


def test_a_damaged_registry_frees_nothing(objects: Objects) -> None:
    registry = Registry(objects, "flights")
    for seed in range(3):
        registry.register(bundle(objects, seed))
    objects.put("registry/flights/versions/00000002.json", b"{}")
    with pytest.raises(CorruptError):
        run(objects)
    assert len(Bundles(objects).list()) == 3


def test_keeping_nothing_is_refused(objects: Objects) -> None:
    with pytest.raises(ValueError, match="expected at least 1"):
        run(objects, keep=0)
