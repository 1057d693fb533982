"""A place with a store, where files are dropped and taken in."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from everloop.ingest import IngestReport, ingest
from everloop.spec.project import SourceSpec, StoreSpec
from everloop.store.objects import Objects
from everloop.store.tables import Table, Tables


@dataclass
class Place:
    root: Path
    objects: Objects
    raw: Table

    def drop(self, name: str, content: bytes | str | pl.DataFrame) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, pl.DataFrame):
            content.write_parquet(path)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def ingest(self, path: str = "*.*", **settings: Any) -> IngestReport:
        source = SourceSpec.model_validate({"path": path, **settings})
        return ingest(source, self.raw, self.objects, self.root)

    def rows(self) -> pl.DataFrame:
        return self.raw.scan().collect()

    def malformed(self) -> list[str]:
        rows = self.rows()
        return rows["_malformed"].drop_nulls().to_list() if "_malformed" in rows.columns else []


@pytest.fixture
def open_place(tmp_path: Path) -> Callable[[], Place]:
    def open_place() -> Place:
        root = tmp_path / "project"
        root.mkdir(exist_ok=True)
        spec = StoreSpec(url=str(tmp_path / "store"))
        objects = Objects.open(spec, root)
        return Place(root, objects, Tables(objects, spec).table("raw/main"))

    return open_place


@pytest.fixture
def place(open_place: Callable[[], Place]) -> Place:
    return open_place()
