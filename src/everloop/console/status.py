"""Reads a project's state for its status page."""

from pathlib import Path
from typing import Any

import polars as pl

from everloop.console.pages import StatusData
from everloop.console.records import (
    Champion,
    ColumnDrift,
    DecisionLine,
    LiveWindow,
    QuarantineCount,
    VersionLine,
)
from everloop.console.server import PageServer, make_app
from everloop.loop.dataset import METRICS
from everloop.loop.quarantine import count_by_rule
from everloop.loop.shipping import read_shipping
from everloop.loop.trail import decision_lines
from everloop.loop.watch import read_status
from everloop.loop.workspace import Workspace
from everloop.measure.metrics import default_metric

_NUM_WINDOWS = 60
_NUM_DECISIONS = 200


def page_server(ws: Workspace, *, port: int | None = None) -> PageServer:
    """Listen on the project's console port; ``.run()`` answers.

    Raises:
        UnavailableError: If the port is taken.
    """
    spec = ws.project.console
    app = make_app(lambda: read_page(ws), reports=reports_folder(ws))
    return PageServer(app, host=spec.host, port=spec.port if port is None else port)


def reports_folder(ws: Workspace) -> Path:
    """Where reports lie that the pages offer."""
    return ws.local("reports")


def read_page(ws: Workspace) -> StatusData:
    """Read everything that the status page says."""
    status, shipping = read_status(ws), read_shipping(ws)
    lines = version_lines(ws)
    aliases = ws.registry.aliases()
    champion = ws.champion()
    metrics = _metrics(ws)
    return StatusData(
        project=ws.model,
        store=ws.objects.url,
        as_of=ws.clock.now().isoformat(),
        stream_time=status.stream_time.isoformat() if status and status.stream_time else None,
        aliases=aliases,
        champion=None
        if champion is None
        else Champion(
            version=next(line for line in lines if line.number == champion[0]),
            metrics=champion[1].manifest.metrics,
        ),
        windows=_windows(metrics),
        drift=_newest_drift(metrics),
        psi_limit=ws.project.monitor.psi,
        decisions=console_decisions(ws)[-_NUM_DECISIONS:],
        versions=lines,
        gate_metric=ws.project.gate.metric
        or (default_metric(champion[1].manifest.task) if champion else "gate metric"),
        quarantine=_quarantine(ws),
        clean_rows={
            s.name: max(ws.tables.table(f"clean/{s.name}").num_rows(), 0)
            for s in ws.project.sources
        },
        looked_at=status.at.isoformat() if status else None,
        troubles=tuple(note.trouble for note in (status, shipping) if note and note.trouble),
    )


def console_decisions(ws: Workspace) -> tuple[DecisionLine, ...]:
    """Return the audit trail as the pages show it."""
    return tuple(DecisionLine.model_validate(d.model_dump()) for d in decision_lines(ws))


def version_lines(ws: Workspace) -> tuple[VersionLine, ...]:
    """Return every version with what its manifest and the gate say, but those that gc freed."""
    scores = _gate_scores(ws)
    names: dict[int, list[str]] = {}
    for alias, number in ws.registry.aliases().items():
        names.setdefault(number, []).append(alias)
    lines = []
    for version in ws.registry.versions():
        try:
            manifest = ws.bundles.manifest(version.bundle)
        except KeyError:
            continue
        fit = manifest.splits.get("fit")
        lines.append(
            VersionLine(
                number=version.number,
                created_at=version.created_at,
                trained_through=fit.last if fit and manifest.time_column else None,
                family=manifest.family,
                variant=manifest.variant,
                size_kb=sum(f.size_bytes for f in manifest.files) / 1000,
                gate_metric=scores.get(version.bundle),
                note=", ".join(sorted(names.get(version.number, []))),
            )
        )
    return tuple(lines)


def _gate_scores(ws: Workspace) -> dict[str, float]:
    found: dict[str, float] = {}
    for run in ws.ledger.runs():
        evidence: Any = run.outputs.get("evidence")
        if run.stage == "gate" and isinstance(evidence, dict):
            score = evidence["scores"].get(evidence["metric"])
            if isinstance(score, float):
                found[str(run.outputs["bundle"])] = score
    return found


def _metrics(ws: Workspace) -> pl.DataFrame | None:
    table = ws.tables.table(METRICS)
    return None if table.version() < 0 else table.scan().sort("time").collect()


def _windows(metrics: pl.DataFrame | None) -> tuple[LiveWindow, ...]:
    if metrics is None:
        return ()
    live = metrics.filter((pl.col("kind") == "live") & pl.col("value").is_not_null())
    newest = live.filter(pl.col("version") == pl.col("version").max().over("time"))
    found = []
    for (time,), rows in newest.group_by("time", maintain_order=True):
        values = dict(zip(rows["name"], rows["value"], strict=True))
        moment = str(time.isoformat()) if hasattr(time, "isoformat") else str(time)
        found.append(
            LiveWindow(start=moment, end=moment, rows=int(rows["num_rows"][0]), values=values)
        )
    return tuple(found[-_NUM_WINDOWS:])


def _newest_drift(metrics: pl.DataFrame | None) -> tuple[ColumnDrift, ...]:
    if metrics is None:
        return ()
    drift = metrics.filter(pl.col("kind") == "drift")
    newest = drift.filter(pl.col("time") == pl.col("time").max()).sort("value", descending=True)
    return tuple(
        ColumnDrift(column=name, psi=psi)
        for name, psi in newest.select("name", "value").iter_rows()
        if psi is not None
    )


def _quarantine(ws: Workspace) -> tuple[QuarantineCount, ...]:
    return tuple(
        QuarantineCount(source=source.name, rule=rule, rows=rows)
        for source in ws.project.sources
        for rule, rows in count_by_rule(ws, source.name).iter_rows()
    )
