import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from everloop.frameworks.scoring import score_frame
from everloop.loop.controller import Controller
from everloop.loop.shipping import Shipping
from everloop.loop.trail import decision_lines
from everloop.loop.turn import TurnReport, run_turn
from everloop.loop.workspace import Workspace
from everloop.serve.spool import PredictionLine, Spool
from everloop.spec.manifest import Manifest
from everloop.store.bundles import Draft
from everloop.testing import make_project, make_rows


class Small:
    """A small project, and what a replica of it would have logged."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = make_project(folder, **settings)
        self.ws = Workspace.open(folder)
        self._numbers = itertools.count(time.time_ns() // 1000)

    def reopen(self) -> Workspace:
        self.ws = Workspace.open(self.folder)
        return self.ws

    def run(self, to: str = "promote") -> TurnReport:
        return run_turn(self.ws, to=to)

    def decided(self) -> list[str]:
        return [line.kind for line in decision_lines(self.ws)]

    def serve(
        self, rows: pl.DataFrame, *, version: int | None = None, ids: Sequence[str] | None = None
    ) -> list[str]:
        """Log what a replica would answer to each row on its own; returns the ids."""
        number = version or self.ws.registry.aliases()["champion"]
        bundle = self.ws.version_bundle(number)
        scores = score_frame(bundle, rows).tolist()
        ids = list(ids or rows["id"].to_list())
        columns = self._columns(rows, bundle.manifest)
        lines = [
            PredictionLine(
                id=one,
                at=next(self._numbers),
                version=number,
                rows=1,
                predictions=[score],
                clock=bundle.manifest.time_column,
                **{group: {n: [s[i]] for n, s in of.items()} for group, of in columns.items()},
            )
            for i, (one, score) in enumerate(zip(ids, scores, strict=True))
        ]
        spool = self._spool()
        assert spool.add_predictions([spool.line(line) for line in lines]) is None
        spool.close()
        Shipping(self.ws).ship()
        return ids

    @staticmethod
    def _columns(rows: pl.DataFrame, manifest: Manifest) -> dict[str, dict[str, list[Any]]]:
        found: dict[str, dict[str, list[Any]]] = {
            name: {} for name in ("numbers", "categories", "times", "texts", "moments")
        }
        for column in manifest.columns:
            group = {"number": "numbers", "category": "categories", "time": "times"}[column.kind]
            found[group][column.name] = rows[column.name].to_list()
        for name in manifest.logged:
            is_time = name == manifest.time_column
            values = rows[name].dt.epoch("us") if is_time else rows[name].cast(pl.String)
            found["moments" if is_time else "texts"][name] = values.to_list()
        return found

    def label(self, ids: Sequence[str], labels: Sequence[object]) -> None:
        """Log labels as the server does."""
        spool = self._spool()
        texts = [str(v).lower() if isinstance(v, bool) else str(v) for v in labels]
        assert spool.add_labels(list(zip(ids, texts, strict=True))) is None
        spool.close()
        Shipping(self.ws).ship()

    def serve_labelled(self, rows: pl.DataFrame, *, version: int | None = None) -> None:
        self.label(self.serve(rows, version=version), rows["label"].to_list())

    def _spool(self) -> Spool:
        name = f"r{next(self._numbers)}"
        return Spool(
            self.ws.spool,
            name,
            max_bytes=1 << 30,
            now_us=lambda: next(self._numbers),
        )

    def add_version(self, other: "Small", number: int = 1) -> int:
        """Register another project's version here; returns its number."""
        bundle = other.ws.version_bundle(number)
        copied = self.ws.bundles.write(Draft(manifest=bundle.manifest, files=bundle.files))
        return self.ws.registry.register(copied.digest).number

    def check(self) -> None:
        """Check what holds at any moment: route, aliases, decisions and bundles agree."""
        ws = Workspace.open(self.folder)
        controller, route = Controller(ws), ws.routes.current()
        assert ws.registry.aliases().get("champion") == controller.state.champion
        decision_lines(ws)
        for version in ws.registry.versions():
            ws.bundles.open(version.bundle)
        assert (route is None) == (controller.state.champion is None)
        if route is not None:
            assert [target.version for target in route.live] == [controller.state.champion]


@pytest.fixture
def small(tmp_path: Path) -> Small:
    return Small(tmp_path / "small")


@pytest.fixture(scope="session")
def upside_down(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """A project whose model learned the opposite of the truth."""
    folder = tmp_path_factory.mktemp("upside_down")
    other = Small(folder, num_rows=10)
    next((folder / "rows").iterdir()).unlink()
    (folder / "rows" / "000000.csv").write_text(make_rows(2000, sign=-1.0).write_csv())
    other.run()
    return other
