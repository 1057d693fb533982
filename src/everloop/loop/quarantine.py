"""Reads the rows that were set aside."""

import json
from typing import Any

import polars as pl

from everloop.loop.workspace import Workspace
from everloop.spec.errors import DataError


def read_quarantine(
    ws: Workspace, source: str | None, last: int
) -> dict[str, list[dict[str, Any]]]:
    """Return counts by source and rule, and the newest rows.

    Raises:
        DataError: If the project has no such source.
    """
    names = [s.name for s in ws.project.sources]
    if source is not None and source not in names:
        raise DataError(f"source {source!r}: not in the project, which has {', '.join(names)}")
    counts: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for name in names if source is None else [source]:
        table = ws.tables.table(f"quarantine/{name}")
        if table.version() < 0:
            continue
        by_rule = count_by_rule(ws, name).iter_rows()
        counts += [{"source": name, "rule": rule, "rows": number} for rule, number in by_rule]
        newest = table.scan().sort("_offset", "_row", descending=True).head(last).collect()
        rows += [_line(name, row) for row in newest.iter_rows(named=True)]
    return {"counts": counts, "rows": rows}


def count_by_rule(ws: Workspace, source: str) -> pl.DataFrame:
    """Return ``_rule`` and ``len`` of a source's rows set aside, the most frequent first."""
    table = ws.tables.table(f"quarantine/{source}")
    if table.version() < 0:
        return pl.DataFrame(schema={"_rule": pl.String, "len": pl.UInt32})
    return table.scan().group_by("_rule").len().sort("len", "_rule", descending=True).collect()


def _line(source: str, row: dict[str, Any]) -> dict[str, Any]:
    fields = {k: v for k, v in row.items() if not k.startswith("_") and v is not None}
    return {
        "source": source,
        "rule": row["_rule"],
        "value": row["_value"],
        "row": json.dumps(fields, default=str),
    }
