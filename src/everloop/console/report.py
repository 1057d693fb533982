"""The report of a replay: one page that needs nothing else, and its totals as JSON."""

import json
import os
from pathlib import Path

from markupsafe import Markup

from everloop.console import plots
from everloop.console.records import (
    DecisionLine,
    DriftCell,
    ReportData,
    VersionLine,
    WeekScore,
)
from everloop.console.rendering import milliseconds, render
from everloop.console.summary import plural, summarise, text_table

__all__ = [
    "DecisionLine",
    "DriftCell",
    "ReportData",
    "VersionLine",
    "WeekScore",
    "text_table",
    "write_report",
]


def write_report(data: ReportData, folder: Path) -> Path:
    """Write ``report.html`` and ``summary.json`` into a folder, which is made if need be.

    Args:
        data: What happened.
        folder: Where the two files go; older ones are replaced, each at once.

    Returns:
        The page. It holds its style and drawings and asks nothing of the network.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_whole(folder / "summary.json", json.dumps(summarise(data), indent=2) + "\n")
    page = folder / "report.html"
    _write_whole(page, report_page(data))
    return page


def report_page(data: ReportData) -> str:
    """Render the report as HTML."""
    drawings = {
        "auc": plots.auc_plot(data) if data.weeks else "",
        "logloss": plots.log_loss_plot(data) if data.weeks else "",
        "drift": plots.drift_plot(data.drift, data.psi_limit) if data.drift else "",
        "stages": plots.stage_plot(data.stage_seconds) if data.stage_seconds else "",
    }
    return render(
        "report.html",
        data=data,
        total=summarise(data),
        # Matplotlib escapes the column and stage names that it draws.
        plots={name: Markup(svg) for name, svg in drawings.items()},  # noqa: S704
        alt=_alt_texts(data),
        drift_note=_drift_note(data),
        failed_text="none failed"
        if not data.requests_failed
        else f"{data.requests_failed:,} failed",
        requests_text=_requests_text(data),
    )


def _alt_texts(data: ReportData) -> dict[str, str]:
    total = summarise(data)
    span = f"{len(data.weeks)} weeks"
    return {
        "auc": f"Line plot of AUC over {span}: {_versus(total, 'auc')}; "
        f"{plural(int(total['promotions'] or 0), 'promotion', 'promotions')} and "
        f"{plural(int(total['rollbacks'] or 0), 'roll-back', 'roll-backs')}.",
        "logloss": f"Line plot of log loss over {span}: {_versus(total, 'logloss')}.",
        "drift": "Map of the population stability index. " + _drift_note(data),
        "stages": "Bars of seconds by stage: "
        + ", ".join(f"{stage} {seconds:,.1f}" for stage, seconds in data.stage_seconds.items())
        + ".",
    }


def _versus(total: dict[str, float | int | None], score: str) -> str:
    frozen, everloop = total[f"{score}_frozen"], total[f"{score}_everloop"]
    if frozen is None or everloop is None:
        return "not scored"
    return f"on average {frozen:.4f} frozen and {everloop:.4f} everloop"


def _drift_note(data: ReportData) -> str:
    over = sum(cell.psi > data.psi_limit for cell in data.drift)
    hidden = plots.num_hidden_columns(data.drift)
    return (
        "Population stability index of each week against what the champion learned from, the "
        f"farthest columns first. {over:,} of {len(data.drift):,} cells are over the limit of "
        f"{data.psi_limit:g}, where blue turns to orange."
        + (
            f" {plural(hidden, 'calmer column is', 'calmer columns are')} not shown."
            if hidden
            else ""
        )
    )


def _requests_text(data: ReportData) -> str:
    if not data.requests:
        return "No request was sent."
    return (
        f"{plural(data.requests, 'request', 'requests')} sent to the running server, "
        f"{data.requests_failed:,} failed. Median {milliseconds(data.p50_ms)}, "
        f"99 of 100 within {milliseconds(data.p99_ms)}."
    )


def _write_whole(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
