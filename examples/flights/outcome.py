"""What a replay came to: weekly scores, drift, decisions, costs, as the report wants them."""

from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
from replay import Tally

from everloop.console.records import DriftCell, ReportData, WeekScore
from everloop.console.status import console_decisions, version_lines
from everloop.frameworks.scoring import score_frame
from everloop.loop.dataset import METRICS, cut_now, feedback_rows, source_rows
from everloop.loop.workspace import Workspace
from everloop.measure.metrics import metric

WEEK_START = datetime(2013, 3, 1, 5)  # noqa: DTZ001 - the frames' times are UTC without saying so


def read_outcome(ws: Workspace, tally: Tally, seconds: float) -> ReportData:
    """Read the tables, the ledger and the audit trail of a replay."""
    return ReportData(
        title="A year of flights out of New York",
        subtitle=(
            "Will it arrive more than 30 minutes late? A first model of January and February, "
            "frozen, beside one that everloop kept renewing while it served."
        ),
        weeks=_weeks(ws),
        drift=_drift(ws),
        decisions=console_decisions(ws),
        versions=version_lines(ws),
        stage_seconds=_stage_seconds(ws),
        requests=tally.requests,
        requests_failed=tally.failed,
        p50_ms=tally.quantile_ms(0.5),
        p99_ms=tally.quantile_ms(0.99),
        seconds=seconds,
        positive="late",
        gate_metric=ws.project.gate.metric or "log_loss",
        psi_limit=ws.project.monitor.psi,
    )


def _weeks(ws: Workspace) -> tuple[WeekScore, ...]:
    cut = cut_now(ws)
    schema = dict(source_rows(ws, cut).collect_schema())
    rows = feedback_rows(ws, cut, schema).collect()
    rows = rows.with_columns(
        _frozen=score_frame(ws.version_bundle(1), rows).astype(np.float64),
        _week=_week(pl.col("scheduled")),
    ).sort("scheduled")
    return tuple(
        _score(number, week) for (number,), week in rows.group_by("_week", maintain_order=True)
    )


def _score(number: object, week: pl.DataFrame) -> WeekScore:
    label = week["_label"].cast(pl.Float64).to_numpy()
    frozen, live = week["_frozen"].to_numpy(), week["_prediction"].to_numpy()
    both = len(np.unique(label)) > 1
    return WeekScore(
        start=_first_day(int(str(number))),
        rows=week.height,
        label_rate=float(label.mean()),
        auc_frozen=metric("auc", label, frozen) if both else None,
        auc_everloop=metric("auc", label, live) if both else None,
        logloss_frozen=metric("log_loss", label, frozen),
        logloss_everloop=metric("log_loss", label, live),
    )


def _drift(ws: Workspace) -> tuple[DriftCell, ...]:
    table = ws.tables.table(METRICS)
    if table.version() < 0:
        return ()
    cells = (
        table.scan()
        .filter((pl.col("kind") == "drift") & pl.col("value").is_not_null())
        .with_columns(_week=_week(pl.col("time")))
        .group_by("_week", "name")
        .agg(pl.col("value").last())
        .sort("_week", "name")
        .collect()
    )
    return tuple(
        DriftCell(start=_first_day(number), column=name, psi=psi)
        for number, name, psi in cells.iter_rows()
    )


def _stage_seconds(ws: Workspace) -> dict[str, float]:
    found: dict[str, float] = {}
    for run in ws.ledger.runs():
        found[run.stage] = round(found.get(run.stage, 0.0) + run.seconds, 3)
    return found


def _week(time: pl.Expr) -> pl.Expr:
    return (time.dt.replace_time_zone(None) - WEEK_START).dt.total_days() // 7


def _first_day(number: int) -> date:
    return (WEEK_START + timedelta(weeks=number)).date()
