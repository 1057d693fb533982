"""Late labels that come as a source of their own, beside those that are posted to the server."""

import polars as pl

from everloop.loop.dataset import LABELS
from everloop.loop.workspace import Workspace
from everloop.spec.errors import DataError


def pass_on_labels(ws: Workspace) -> int:
    """Append the label source's new clean rows to the labels table, each exactly once.

    Returns:
        How many there were; 0 where the project has no label source.

    Raises:
        DataError: If the source lacks the column with the id or the label.
    """
    spec = ws.project.labels
    if spec is None:
        return 0
    labels, app = ws.tables.table(LABELS), f"source/{spec.source}"
    rows = ws.tables.table(f"clean/{spec.source}").scan()
    missing = [name for name in (spec.id, spec.label) if name not in rows.collect_schema()]
    if missing:
        raise DataError(
            f"labels: source {spec.source!r} lacks {', '.join(map(repr, missing))}; name its "
            "columns with labels.id and labels.label"
        )
    new = rows.filter(pl.col("_offset") > labels.offset(app)).collect()
    if new.is_empty():
        return 0
    frame = new.select(
        pl.col(spec.id).cast(pl.String).alias("_prediction_id"),
        pl.col(spec.label).cast(pl.String).alias("_label"),
        pl.lit(ws.clock.now()).cast(pl.Datetime("us", "UTC")).alias("_received_at"),
    ).drop_nulls()
    newest = new["_offset"].max()
    assert isinstance(newest, int)
    labels.append(frame, app=app, offset=newest)
    return frame.height
