"""Any order of appends, repeats, merges and restarts against a plain list of rows."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from everloop.registry.gc import collect
from everloop.spec.project import StoreSpec
from everloop.store.objects import Objects
from everloop.store.table import Table
from everloop.store.tables import Tables

SPEC = StoreSpec(url="state")
APPS = st.sampled_from(["a", "b"])
COLUMNS = st.sampled_from(["x", "y", "z"])


class TableHistory(RuleBasedStateMachine):
    """The table must answer as the list does, also for the versions before."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.rows: list[dict[str, Any]] = []
        self.offsets = {"a": -1, "b": -1}
        self.versions: dict[int, list[dict[str, Any]]] = {}
        self.open()

    def open(self) -> None:
        self.objects = Objects.open(SPEC, self.root)
        self.tables = Tables(self.objects, SPEC)

    @property
    def table(self) -> Table:
        return self.tables.table("raw/main")

    @rule(app=APPS, column=COLUMNS, values=st.lists(st.integers(0, 9), max_size=3))
    def append(self, app: str, column: str, values: list[int]) -> None:
        self.offsets[app] += 1
        frame = pl.DataFrame({column: values}, schema={column: pl.Int64})
        version = self.table.append(frame, app=app, offset=self.offsets[app])
        self.rows = [*self.rows, *({column: value} for value in values)]
        self.versions[version] = self.rows

    @rule(app=APPS, back=st.integers(0, 3))
    def append_again(self, app: str, back: int) -> None:
        offset = self.offsets[app] - back
        if offset >= 0:
            before = self.table.version()
            assert self.table.append(pl.DataFrame({"x": [-1]}), app=app, offset=offset) == before

    @rule()
    def compact(self) -> None:
        self.table.compact()

    @rule()
    def restart(self) -> None:
        self.open()

    @rule()
    def collect_garbage(self) -> None:
        collect(self.objects, self.tables, "m", keep=1, dry_run=False)

    @rule(data=st.data())
    def read_an_older_version(self, data: st.DataObject) -> None:
        if self.versions:
            version = data.draw(st.sampled_from(sorted(self.versions)))
            self.check(version, self.versions[version])

    @invariant()
    def the_newest_version_is_right(self) -> None:
        self.check(None, self.rows)
        assert {app: self.table.offset(app) for app in self.offsets} == self.offsets

    def check(self, version: int | None, rows: list[dict[str, Any]]) -> None:
        found = self.table.scan(version).collect().rows(named=True)
        assert [{k: v for k, v in row.items() if v is not None} for row in found] == rows
        assert self.table.num_rows(version) == len(rows)

    def teardown(self) -> None:
        shutil.rmtree(self.root)


TestTableHistory = TableHistory.TestCase
TestTableHistory.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)
