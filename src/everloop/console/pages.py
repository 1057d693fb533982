"""The pages of a running project, rendered from plain data."""

from collections.abc import Sequence
from dataclasses import dataclass

from everloop.console.records import (
    Champion,
    ColumnDrift,
    DecisionLine,
    LiveWindow,
    QuarantineCount,
    StatusData,
    VersionLine,
)
from everloop.console.rendering import render, score, words

__all__ = [
    "Champion",
    "ColumnDrift",
    "DecisionLine",
    "LiveWindow",
    "QuarantineCount",
    "StatusData",
    "VersionLine",
    "status_page",
    "trouble_page",
]


@dataclass(frozen=True, kw_only=True)
class Trend:
    """One live metric over the windows.

    Attributes:
        name: Of the metric.
        newest: In the newest window that has it.
        points: Of an SVG polyline in a box of 100 by 30.
        alt: The line in words.
    """

    name: str
    newest: float
    points: str
    alt: str


def status_page(data: StatusData, *, reports: Sequence[str] = (), refresh_s: int = 10) -> str:
    """Render the overview of a project as HTML.

    Args:
        data: What is known.
        reports: Names of the pages under ``/reports/`` to link to.
        refresh_s: Seconds until the browser reads the page anew.
    """
    set_aside = sum(line.rows for line in data.quarantine)
    return render(
        "status.html",
        data=data,
        reports=reports,
        refresh_s=refresh_s,
        trends=trends(data.windows),
        num_drifted=sum(line.psi > data.psi_limit for line in data.drift),
        rows_seen=sum(data.clean_rows.values()) + set_aside,
        # The bars end at the farthest column, but a calm window must not look like a wild one.
        widest_psi=max([line.psi for line in data.drift] + [2 * data.psi_limit]),
    )


def trouble_page(heading: str, message: str, *, refresh_s: int = 10) -> str:
    """Render the page that says why there is nothing to show."""
    return render("trouble.html", heading=heading, message=message, refresh_s=refresh_s)


def trends(windows: Sequence[LiveWindow]) -> list[Trend]:
    """Follow each metric over the windows; a window that lacks one is passed over."""
    names = dict.fromkeys(name for window in windows for name in window.values)
    return [_trend(name, [w.values[name] for w in windows if name in w.values]) for name in names]


def _trend(name: str, values: Sequence[float]) -> Trend:
    low, high = min(values), max(values)
    return Trend(
        name=name,
        newest=values[-1],
        points=_points(values),
        alt=f"{words(name)} over {len(values)} windows, from {score(values[0])} to "
        f"{score(values[-1])}, between {score(low)} and {score(high)}",
    )


def _points(values: Sequence[float]) -> str:
    """Fit values into a box of 100 by 30, the highest at the top.

    >>> _points([1.0, 3.0, 2.0])
    '0.0,28.0 50.0,2.0 100.0,15.0'
    """
    if len(values) == 1:
        values = [values[0], values[0]]
    low, high = min(values), max(values)
    height = 26 / (high - low) if high > low else 0.0
    step = 100 / (len(values) - 1)
    base = 28.0 if height else 15.0
    return " ".join(
        f"{i * step:.1f},{base - (value - low) * height:.1f}" for i, value in enumerate(values)
    )
