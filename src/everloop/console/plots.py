"""The report's plots, drawn by matplotlib as SVG text that stands in the page.

Colours are drawn as placeholders and then turned into the page's CSS variables, so one drawing
serves a light and a dark page. Marks differ by shape and dash as well as by colour.
"""

import io
import re
from collections.abc import Sequence
from datetime import date, datetime
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from everloop.console.records import DriftCell, ReportData, WeekScore

_INK, _SOFT, _LINE, _CARD = "#010a01", "#010a02", "#010a03", "#010a04"
_LOOP, _FROZEN, _PROMOTE, _UNDO = "#010a05", "#010a06", "#010a07", "#010a08"
_STEPS = ("#010b00", "#010b01", "#010b02", "#010b03", "#010b04", "#010b05")
_VARIABLES = {
    _INK: "ink",
    _SOFT: "soft",
    _LINE: "line",
    _CARD: "card",
    _LOOP: "loop",
    _FROZEN: "frozen",
    _PROMOTE: "promote",
    _UNDO: "undo",
    **{step: f"step{i}" for i, step in enumerate(_STEPS)},
}
_STYLE: Any = {
    "date.converter": "concise",
    "text.parse_math": False,
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9.5,
    "text.color": _INK,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _SOFT,
    "xtick.color": _LINE,
    "ytick.color": _LINE,
    "xtick.labelcolor": _SOFT,
    "ytick.labelcolor": _SOFT,
    "grid.color": _LINE,
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "lines.solid_capstyle": "round",
}
_WIDTH_IN = 9.4
_MAX_COLUMNS = 24
"""Columns of the drift plot at most: those that drifted farthest."""
_FEW_WEEKS = 14
"""With fewer weeks each one is named, and each score has a dot."""


def auc_plot(data: ReportData) -> str:
    """Draw the AUC of each week, frozen against everloop, with promotions and roll-backs."""
    frozen = [week.auc_frozen for week in data.weeks]
    everloop = [week.auc_everloop for week in data.weeks]
    with mpl.rc_context(_STYLE):
        figure, axes = _canvas(3.3)
        _two_lines(axes, data.weeks, frozen, everloop)
        _mark(axes, data, "promote", "promotion", (_PROMOTE, "^", 9))
        _mark(axes, data, "roll_back", "roll-back", (_UNDO, "v", 11))
        _finish(axes, "AUC, higher is better")
        return _svg(figure, "auc")


def log_loss_plot(data: ReportData) -> str:
    """Draw the log loss of each week, frozen against everloop."""
    frozen = [week.logloss_frozen for week in data.weeks]
    everloop = [week.logloss_everloop for week in data.weeks]
    with mpl.rc_context(_STYLE):
        figure, axes = _canvas(2.9)
        _two_lines(axes, data.weeks, frozen, everloop)
        _finish(axes, "log loss, lower is better")
        return _svg(figure, "logloss")


def stage_plot(stage_seconds: dict[str, float]) -> str:
    """Draw how long each stage took, in all."""
    stages = sorted(stage_seconds, key=lambda stage: stage_seconds[stage])
    seconds = [stage_seconds[stage] for stage in stages]
    with mpl.rc_context(_STYLE):
        figure, axes = _canvas(0.6 + 0.3 * len(stages))
        bars = axes.barh(stages, seconds, color=_LOOP, height=0.62)
        axes.bar_label(bars, [f"{s:,.1f} s" for s in seconds], padding=5, color=_INK)
        axes.set_xlim(0, max(seconds, default=1) * 1.12 or 1)
        axes.tick_params(length=0, labelbottom=False)
        axes.tick_params(axis="y", labelcolor=_INK)
        axes.spines[:].set_visible(False)
        return _svg(figure, "stages")


def drift_plot(cells: Sequence[DriftCell], psi_limit: float) -> str:
    """Draw drift as a map: a row for each column, a stripe for each week."""
    columns = _farthest(cells)
    weeks = sorted({cell.start for cell in cells})
    psi = np.full((len(columns), len(weeks)), np.nan)
    for cell in cells:
        if cell.column in columns:
            psi[columns.index(cell.column), weeks.index(cell.start)] = cell.psi
    with mpl.rc_context(_STYLE):
        figure, axes = _canvas(1.15 + 0.23 * len(columns))
        _draw_map(axes, psi, psi_limit)
        axes.set_yticks(np.arange(len(columns)) + 0.5, columns, color=_INK)
        _label_weeks(axes, weeks)
        _draw_scale(axes, psi_limit)
        return _svg(figure, "drift")


def num_hidden_columns(cells: Sequence[DriftCell]) -> int:
    """Count the columns for which the drift plot has no room."""
    return max(0, len({cell.column for cell in cells}) - _MAX_COLUMNS)


def _farthest(cells: Sequence[DriftCell]) -> list[str]:
    """Name the columns to draw, the one with the largest mean PSI first."""
    found: dict[str, list[float]] = {}
    for cell in cells:
        found.setdefault(cell.column, []).append(cell.psi)
    return sorted(found, key=lambda name: (-sum(found[name]) / len(found[name]), name))[
        :_MAX_COLUMNS
    ]


def _canvas(height_in: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH_IN, height_in), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    return figure, axes


def _two_lines(
    axes: Axes,
    weeks: Sequence[WeekScore],
    frozen: Sequence[float | None],
    everloop: Sequence[float | None],
) -> None:
    x = _moments([week.start for week in weeks])
    low, high = _floats(frozen), _floats(everloop)
    axes.fill_between(x, low, high, color=_LOOP, alpha=0.1, linewidth=0)
    dot = "o" if len(weeks) < _FEW_WEEKS else ""
    axes.plot(x, low, "--", color=_FROZEN, linewidth=1.8, label="frozen", marker=dot)
    axes.plot(x, high, color=_LOOP, linewidth=2.4, label="everloop", marker=dot)


def _mark(axes: Axes, data: ReportData, kind: str, label: str, look: tuple[str, str, int]) -> None:
    """Put a mark on everloop's line at each decision of a kind within the scored weeks."""
    colour, marker, size = look
    scored = [week for week in data.weeks if week.auc_everloop is not None]
    x = _moments([week.start for week in scored])
    times = _moments([_day(line.time) for line in data.decisions if line.kind == kind])
    if x.size:
        times = times[(times >= x[0]) & (times < x[-1] + np.timedelta64(7, "D"))]
    if not times.size or not x.size:
        return
    line = _floats([week.auc_everloop for week in scored])
    y = np.interp(times.astype(float), x.astype(float), line)
    if kind == "roll_back":
        for time in times:
            axes.axvline(time, color=colour, linewidth=1, linestyle=(0, (1, 2)), zorder=1)
    axes.plot(
        times,
        y,
        linestyle="none",
        marker=marker,
        markersize=size,
        color=colour,
        markeredgecolor=_CARD,
        zorder=4,
        label=label,
    )


def _day(time: str) -> date:
    return datetime.fromisoformat(time).date()


def _moments(days: Sequence[date]) -> np.ndarray:
    return np.array(days, dtype="datetime64[D]")


def _floats(values: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def _finish(axes: Axes, label: str) -> None:
    axes.xaxis.get_offset_text().set_visible(False)
    axes.set_title(label, loc="left", fontsize=9.5, color=_SOFT, pad=10)
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0)
    axes.margins(x=0.015)
    axes.legend(
        loc="lower right", bbox_to_anchor=(1, 1), ncols=4, borderaxespad=0.3, handlelength=2.2
    )


def _bounds(psi_limit: float) -> list[float]:
    return [psi_limit * factor for factor in (0, 0.1, 0.4, 1, 2, 4)]


def _draw_map(axes: Axes, psi: np.ndarray, psi_limit: float) -> None:
    bounds = [*_bounds(psi_limit), np.inf]
    axes.pcolormesh(
        np.ma.masked_invalid(psi),
        cmap=ListedColormap(_STEPS),
        norm=BoundaryNorm([*bounds[:-1], 1e9], len(_STEPS)),
        edgecolors=_CARD,
        linewidth=1,
    )
    axes.invert_yaxis()
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _label_weeks(axes: Axes, weeks: Sequence[date]) -> None:
    """Name each month under its first week; fewer if there is no room, all weeks if there is."""
    is_few = len(weeks) < _FEW_WEEKS
    firsts = [
        i for i, week in enumerate(weeks) if is_few or i == 0 or week.month != weeks[i - 1].month
    ]
    firsts = firsts[:: len(firsts) // 13 + 1]
    axes.set_xticks([i + 0.5 for i in firsts], [f"{weeks[i]:%-d %b}" for i in firsts])


def _draw_scale(axes: Axes, psi_limit: float) -> None:
    bounds = _bounds(psi_limit)
    names = [f"{low:.3g} to {high:.3g}" for low, high in pairwise(bounds)]
    names[0], last = f"PSI under {bounds[1]:.3g}", f"over {bounds[-1]:.3g}"
    axes.legend(
        [Patch(facecolor=step) for step in _STEPS],
        [*names, last],
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=len(_STEPS),
        borderaxespad=0.4,
        handlelength=1.1,
        handleheight=1.1,
        columnspacing=1.4,
    )


def _svg(figure: Figure, name: str) -> str:
    """Turn a figure into SVG that takes colours and letters from the page around it."""
    out = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", text)
    # Several drawings share a page, and ids must be unique in it.
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    return text.strip()
