"""Metrics of what was served, once its labels have come, window by window and version by version.

A log loss mirrors the share of late flights more than the model: so each metric comes with its
skill, which measures it against a constant predictor on the same rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl

from everloop.measure.intervals import score_interval, time_groups
from everloop.measure.metrics import (
    Floats,
    Rows,
    constant_prediction,
    is_higher_better,
    metric,
    task_metrics,
)
from everloop.rows.labels import known_labels
from everloop.spec.manifest import Task
from everloop.spec.record import Record

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class LiveMetric(Record):
    """One metric of one version in one window.

    Attributes:
        version: The version that answered.
        metric: Its name.
        start: The window's first moment.
        end: The window's end, exclusive; of an unfinished one, too.
        num_rows: Labelled rows.
        value: None where it cannot be computed; ``note`` says why.
        low: Lower end of the value's interval, over days or hours as blocks.
        high: Upper end.
        skill: 1 for a perfect model, 0 for one that says the window's base rate (or mean) for every
            row, less for a worse one.
        note: Why there is no value; empty otherwise.
    """

    version: int
    metric: str
    start: datetime
    end: datetime
    num_rows: int
    value: float | None = None
    low: float | None = None
    high: float | None = None
    skill: float | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class LiveJob:
    """How logged predictions are read and measured.

    Attributes:
        task: The manifest's.
        classes: The manifest's; rows whose label is none of them, or whose prediction is of another
            number of classes, are left out.
        names: Metrics; all of the task where it is empty.
        time: The time column.
        min_rows: With fewer rows a metric has no value, and says so (``monitor.min_rows``).
        confidence: Of the intervals.
    """

    task: Task
    classes: Sequence[str] = ()
    names: Sequence[str] = ()
    time: str = "_time"
    min_rows: int = 1
    confidence: float = 0.95


def live_metrics(frame: pl.DataFrame, job: LiveJob, *, window: timedelta) -> list[LiveMetric]:
    """Measure every version in every window.

    Windows start at whole multiples of their length since 1970, so those that are past never change
    but for labels that come late.

    Args:
        frame: Labelled predictions: the time column, ``_version``, ``_prediction`` (a number, or a
            list of K) and ``_label``.
        job: How they are read.
        window: Length.

    Returns:
        In order of window and version.
    """
    length_us = round(window.total_seconds() * 1e6)
    timed = frame.filter(pl.col(job.time).is_not_null())
    numbered = timed.with_columns(_window=pl.col(job.time).dt.epoch("us") // length_us)
    found = []
    for (number, _), rows in numbered.group_by("_window", "_version"):
        start = _EPOCH + int(str(number)) * window
        found += _measure(rows, job, start, start + window)
    return sorted(found, key=lambda m: (m.start, m.version))


def newest_metrics(frame: pl.DataFrame, job: LiveJob, *, window: timedelta) -> list[LiveMetric]:
    """Measure every version in the stretch that ends with the newest row (``monitor.window``).

    Args:
        frame: As in `live_metrics`.
        job: How it is read.
        window: Length of the stretch.

    Returns:
        In order of version; empty where there are no rows.
    """
    end = frame[job.time].max() if frame.height else None
    if not isinstance(end, datetime):
        return []
    recent = frame.filter(pl.col(job.time) > end - window)
    found = [
        metrics
        for _, rows in recent.group_by("_version")
        for metrics in _measure(rows, job, end - window, end)
    ]
    return sorted(found, key=lambda m: m.version)


def read_predictions(frame: pl.DataFrame, job: LiveJob) -> tuple[pl.DataFrame, Rows, Floats]:
    """Return the rows that can be scored, their targets (N,) and predictions (N,) or (N, K)."""
    if job.task == "multiclass":
        frame = frame.filter(pl.col("_prediction").list.len() == len(job.classes))
    target, is_known = known_labels(frame["_label"], job.task, job.classes)
    frame = frame.filter(pl.Series(is_known))
    if job.task != "multiclass":
        return frame, target[is_known], frame["_prediction"].cast(pl.Float64).to_numpy()
    flat = frame["_prediction"].explode().cast(pl.Float64).to_numpy()
    return frame, target[is_known], flat.reshape(frame.height, len(job.classes))


def _measure(frame: pl.DataFrame, job: LiveJob, start: datetime, end: datetime) -> list[LiveMetric]:
    version = int(frame["_version"][0])
    rows, target, prediction = read_predictions(frame, job)
    groups = time_groups(rows[job.time].dt.epoch("s").to_numpy())
    found = []
    for name in job.names or task_metrics(job.task):
        empty = LiveMetric(version=version, metric=name, start=start, end=end, num_rows=rows.height)
        found.append(empty.model_copy(update=_values(name, target, prediction, groups, job)))
    return found


def _values(
    name: str, target: Rows, prediction: Floats, groups: Rows | None, job: LiveJob
) -> dict[str, object]:
    if len(target) < max(job.min_rows, 1):
        return {"note": f"{len(target)} rows, fewer than monitor.min_rows {job.min_rows}"}
    try:
        found = score_interval(name, target, prediction, confidence=job.confidence, groups=groups)
    except ValueError as error:
        return {"note": str(error)}
    return {
        "value": found.estimate,
        "low": found.low,
        "high": found.high,
        "skill": skill(name, job.task, target, prediction),
    }


def skill(name: str, task: Task, target: Rows, prediction: Floats) -> float | None:
    """Measure predictions against a constant one on the same rows.

    Returns:
        1 for perfect, 0 for no better than the rows' own base rate or mean; None where that
        constant is already perfect.

    Raises:
        ValueError: As `everloop.measure.metrics.metric`.

    Source:
        Skill scores: Murphy, Monthly Weather Review 116 (1988).
    """
    num_classes = prediction.shape[1] if prediction.ndim > 1 else 2
    constant = metric(name, target, constant_prediction(task, target, len(target), num_classes))
    perfect = 1.0 if is_higher_better(name) else 0.0
    # A constant that is right every time is still a hair off a perfect log loss.
    if abs(perfect - constant) < 1e-6:  # noqa: PLR2004
        return None
    return (metric(name, target, prediction) - constant) / (perfect - constant)
