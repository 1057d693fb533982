"""A source whose raw rows are given piece by piece."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from everloop.spec.project import Project, StoreSpec
from everloop.store.objects import Objects
from everloop.store.tables import Tables
from everloop.validate import CleanReport, clean


class Mill:
    """Raw pieces in, the three tables out."""

    def __init__(self, root: Path, project: Mapping[str, Any]) -> None:
        source = {"path": "x.csv", "label": "a"} | dict(project.get("source", {}))
        rest = {key: value for key, value in project.items() if key != "source"}
        data = {"project": {"name": "t"}, "sources": [source], "validate": {"max_bad_ratio": 1}}
        self.project = Project.model_validate(data | rest)
        spec = StoreSpec(url=str(root))
        self.tables = Tables(Objects.open(spec, root), spec)
        self.raw, self.clean_, self.quarantine = (
            self.tables.table(f"{kind}/main") for kind in ("raw", "clean", "quarantine")
        )

    def add(self, *pieces: Mapping[str, Any] | pl.DataFrame) -> None:
        for piece in pieces:
            frame, number = pl.DataFrame(piece), self.raw.offset("main") + 1
            marked = frame.with_columns(
                _source=pl.lit("main"), _offset=pl.lit(number, dtype=pl.Int64),
                _row=pl.int_range(frame.height),
            )  # fmt: skip
            self.raw.append(marked, app="main", offset=number)

    def clean(self, *pieces: Mapping[str, Any] | pl.DataFrame) -> CleanReport:
        self.add(*pieces)
        source = self.project.main
        return clean(source, self.project, self.raw, self.clean_, self.quarantine)

    def kept(self, name: str = "a") -> list[Any]:
        return self.clean_.scan().collect()[name].to_list()

    def set_aside(self) -> list[tuple[str, str]]:
        if self.quarantine.version() < 0:
            return []
        return self.quarantine.scan().select("_rule", "_value").collect().rows()


@pytest.fixture(scope="session")
def make_mill(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return lambda **project: Mill(tmp_path_factory.mktemp("store"), project)
