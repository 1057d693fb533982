from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from everloop.registry.gc import collect
from everloop.spec.project import StoreSpec
from everloop.store.objects import Objects
from everloop.store.tables import Tables


def test_what_nothing_refers_to_is_freed_and_the_rest_is_still_read(
    store_spec: StoreSpec, tmp_path: Path
) -> None:
    objects = Objects.open(store_spec, tmp_path)
    table = Tables(objects, store_spec).table("raw/main")
    for number in range(3):
        table.append(pl.DataFrame({"n": [number]}), app="main", offset=number)
    table.compact()
    objects.put(f"bundles/{'1' * 64}/model.onnx", b"half")
    tables = Tables(objects, store_spec)
    young = collect(objects, tables, "flights", keep=1, dry_run=False)
    assert young.freed == ()
    later = datetime.now(UTC) + timedelta(hours=1)
    report = collect(objects, tables, "flights", keep=1, dry_run=False, before=later)
    freed = [item.kind for item in report.freed if item.kind != "temporary"]
    assert freed == ["bundle", "table", "table", "table"]
    again = Tables(Objects.open(store_spec, tmp_path), store_spec).table("raw/main")
    assert again.scan().collect()["n"].to_list() == [0, 1, 2]
    assert again.offset("main") == 2
