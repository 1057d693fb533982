"""Rows in order of time, cut into fit, tune, select and gate, the newest last.

No row is in two of them, and rows of one moment stay together: a model is always judged on rows
newer than those it was made of.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from everloop.rows.columns import NULL_TIME
from everloop.rows.labels import find_task, label_text
from everloop.rows.vectorised import input_values
from everloop.spec.errors import DataError
from everloop.spec.manifest import RowRange
from everloop.spec.project import Project, TrainSpec
from everloop.spec.steps import ColumnSteps

LABEL: Final = "_label"
_NAMES: Final = ("fit", "tune", "select", "gate")

Seconds = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Labelled rows, oldest first.

    Attributes:
        fit: What the model is fitted to.
        tune: For early stopping and calibration.
        select: For compression to choose on.
        gate: The newest rows, for the gate alone.
        ranges: Split to its rows, for the manifest.
    """

    fit: pl.DataFrame
    tune: pl.DataFrame
    select: pl.DataFrame
    gate: pl.DataFrame
    ranges: Mapping[str, RowRange]


def split(frame: pl.DataFrame, project: Project, *, now: datetime | None = None) -> Splits:
    """Cut labelled rows by time, and thin out the older rows to fit on.

    Args:
        frame: Labelled rows with ``_label``; rows whose label is null or NaN are left out.
        project: Its `train.split`, `train.recent`, `train.max_rows` and the main source's time.
        now: Rows whose label was not known at this moment are left out.

    Raises:
        DataError: If a split would be empty or, for classes, fit or tune would hold one class.
    """
    has_label = pl.col(LABEL).is_not_null()
    if frame.schema[LABEL].is_float():
        has_label &= pl.col(LABEL).is_not_nan()
    frame = frame.filter(has_label)
    name = project.main.time
    if frame.height == 0:
        raise DataError(
            "train: found no row with a label, expected hundreds at least; look at "
            "sources[0].label, known_after and the quarantine"
        )
    frame, seconds = _in_order(frame, name)
    if now is not None and name is not None:
        known = seconds <= (now - project.label.known_after).timestamp()
        frame, seconds = frame.filter(pl.Series(known)), seconds[known]
    edges = _edges(seconds, project)
    _check_sizes(edges, seconds, project)
    pieces = dict(zip(_NAMES, pairwise(edges), strict=True))
    start, end = pieces.pop("fit")
    chosen = start + _choose(seconds[start:end], project)
    frames = {"fit": frame[chosen]} | {n: frame[a:b] for n, (a, b) in pieces.items()}
    ranges = {"fit": _range(seconds[chosen], chosen, timed=name is not None)} | {
        n: _range(seconds[a:b], np.arange(a, b), timed=name is not None)
        for n, (a, b) in pieces.items()
    }
    _check_classes(frame[LABEL], frames, project.train)
    return Splits(**frames, ranges=ranges)


def _in_order(frame: pl.DataFrame, name: str | None) -> tuple[pl.DataFrame, Seconds]:
    if name is None:
        return frame, np.arange(frame.height)
    seconds = input_values(frame, ColumnSteps(name=name, kind="time")).to_numpy()
    order = np.argsort(seconds, kind="stable")
    return frame[order], seconds[order]


def _edges(seconds: Seconds, project: Project) -> list[int]:
    """Return where each split starts, and the end: 5 places, not yet known to rise."""
    parts = project.train.split
    end = len(seconds)
    edges = [end]
    limit = int(seconds[-1]) + 1 if end else 0
    for name in ("gate", "select", "tune"):
        part = getattr(parts, name)
        if isinstance(part, timedelta):
            if project.main.time is None:
                raise DataError(
                    f"train.split.{name}: found a length of time, but sources[0].time is missing; "
                    "name the time column or give a share such as 0.1"
                )
            limit -= int(part.total_seconds())
            start = int(np.searchsorted(seconds, limit, "left"))
        else:
            start = _together(seconds, edges[0] - max(1, round(part * end)), edges[0])
            limit = int(seconds[start]) if 0 <= start < end else limit
        edges.insert(0, start)
    return [0, *edges]


def _together(seconds: Seconds, start: int, end: int) -> int:
    """Move a start to the nearest change of time inside (0, end), if there is one."""
    if not 0 < start < end:
        return start
    first = int(np.searchsorted(seconds, seconds[start], "left"))
    last = int(np.searchsorted(seconds, seconds[start], "right"))
    inside = [place for place in (first, last) if 0 < place < end]
    return min(inside, key=lambda place: abs(place - start), default=start)


def _choose(seconds: Seconds, project: Project) -> npt.NDArray[np.int64]:
    """Pick the rows to fit on: the newest stretch whole, older ones sampled evenly, in order."""
    spec, num_rows = project.train, len(seconds)
    if spec.recent is not None and project.main.time is None:
        raise DataError(
            "train.recent: needs sources[0].time, the column that says when a row happened; "
            "name it or take train.recent out"
        )
    if spec.max_rows is None or num_rows <= spec.max_rows:
        return np.arange(num_rows)
    recent = 0
    if spec.recent is not None:
        oldest = seconds[-1] - int(spec.recent.total_seconds())
        recent = num_rows - int(np.searchsorted(seconds, oldest, "right"))
    if recent >= spec.max_rows:
        return np.arange(num_rows - spec.max_rows, num_rows)
    # One row at random from each of equally long stretches: even in time and without a rhythm.
    wanted, older = spec.max_rows - recent, num_rows - recent
    bounds = np.linspace(0, older, wanted + 1).astype(np.int64)
    sampled = np.random.default_rng(spec.seed).integers(bounds[:-1], bounds[1:])
    return np.concatenate([sampled, np.arange(older, num_rows)])


def row_range(frame: pl.DataFrame, time: str | None) -> RowRange:
    """Describe rows for the manifest; row numbers where there is no time."""
    frame, seconds = _in_order(frame, time if time in frame.columns else None)
    return _range(seconds, np.arange(frame.height), timed=time in frame.columns)


def _range(seconds: Seconds, rows: npt.NDArray[Any], *, timed: bool) -> RowRange:
    if not timed:
        return RowRange(num_rows=len(rows), first=str(rows[0]), last=str(rows[-1]))
    known = seconds[seconds != NULL_TIME]
    first, last = (_iso(known[0]), _iso(known[-1])) if len(known) else ("", "")
    return RowRange(num_rows=len(rows), first=first, last=last)


def _iso(seconds: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(seconds))).isoformat()


def _check_sizes(edges: list[int], seconds: Seconds, project: Project) -> None:
    for name, start, end in zip(_NAMES, edges[:-1], edges[1:], strict=True):
        if start >= end or start < 0:
            what = "more rows or shorter" if name == "fit" else "more rows or another"
            raise DataError(
                f"train.split: no row falls in {name!r} of {len(seconds)} labelled rows"
                f"{_span(seconds, project)}; expected at least one in each of fit, tune, select "
                f"and gate: give it {what} train.split parts"
            )


def _span(seconds: Seconds, project: Project) -> str:
    known = seconds[seconds != NULL_TIME]
    if project.main.time is None or not len(known):
        return ""
    return f" from {_iso(known[0])} to {_iso(known[-1])}"


def _check_classes(labels: pl.Series, frames: Mapping[str, pl.DataFrame], spec: TrainSpec) -> None:
    task, _ = find_task(labels, spec.task)
    if task == "regression":
        return
    for name in ("fit", "tune"):
        distinct = label_text(frames[name][LABEL]).unique()
        if len(distinct) == 1:
            raise DataError(
                f"train.split: all {frames[name].height} {name} rows have the label "
                f"{distinct[0]!r}, expected two classes at least; give {name!r} more rows, or "
                "look at sources[0].label"
            )
