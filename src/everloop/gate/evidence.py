"""Measures a challenger against the champion on the newest labelled rows; decides nothing.

Letters of shapes: N rows, K classes.
"""

from collections.abc import Iterable
from datetime import datetime
from functools import cached_property

import numpy as np
import polars as pl
from pydantic import Field

from everloop.frameworks.scoring import score_frame
from everloop.gate.latency import latency_ms
from everloop.measure.intervals import Interval, paired_gain, time_groups
from everloop.measure.metrics import (
    Floats,
    Rows,
    align_classes,
    constant_prediction,
    default_metric,
    is_higher_better,
    metric,
    task_metrics,
)
from everloop.rows.labels import known_labels
from everloop.spec.errors import DataError
from everloop.spec.project import Project
from everloop.spec.record import Record
from everloop.store.bundles import Bundle

_MAX_SLICES = 50


class SliceEvidence(Record):
    """The rows with one value of a column of ``gate.slices``.

    Attributes:
        column: The column.
        value: Its value, as text.
        num_rows: How many rows.
        challenger: The challenger's score.
        champion: The champion's score, if there is a champion.
    """

    column: str
    value: str
    num_rows: int
    challenger: float
    champion: float | None = None


class Evidence(Record):
    """What the gate knows.

    Attributes:
        metric: What is judged.
        challenger: The challenger's bundle digest.
        champion: The champion's, if there is one that answers the same question.
        num_rows: Gate rows with a label that the challenger knows.
        num_unknown: Gate rows whose label is missing or none of the challenger's classes.
        first: Time of the earliest row, if rows have a time (ISO 8601, UTC).
        last: Of the latest.
        num_groups: Blocks of rows (days or hours) that the intervals are drawn by; 0 for rows on
            their own.
        scores: Metric to the challenger's score.
        champion_scores: Metric to the champion's score on the same rows.
        constant_score: Score, in the judged metric, of saying the rows' own base rate or mean.
        gain: Over the champion; None without one.
        gain_over_constant: Over that constant.
        slices: The worst first.
        latency_ms: Median of a batch of one row.
        size_mb: Of the bundle's files.
        problems: What could not be measured, and why; each is an objection.
        note: Why the champion is no rival, although there is one; empty otherwise.
        versions: Library to version, of the challenger's training.
    """

    metric: str
    challenger: str
    champion: str | None = None
    num_rows: int
    num_unknown: int = 0
    first: str | None = None
    last: str | None = None
    num_groups: int = 0
    scores: dict[str, float] = Field(default_factory=dict)
    champion_scores: dict[str, float] = Field(default_factory=dict)
    constant_score: float | None = None
    gain: Interval | None = None
    gain_over_constant: Interval | None = None
    slices: tuple[SliceEvidence, ...] = ()
    latency_ms: float | None = None
    size_mb: float
    problems: tuple[str, ...] = ()
    note: str = ""
    versions: dict[str, str] = Field(default_factory=dict)


def measure_gate(
    challenger: Bundle, champion: Bundle | None, gate: pl.DataFrame, project: Project
) -> Evidence:
    """Score both on the same rows.

    Args:
        challenger: Wants the champion's place.
        champion: Serves now, if there is one. One that answers another task is no rival.
        gate: Rows that neither has learned from, with ``_label``.
        project: Its ``[gate]`` says what is judged and how sure to be; its seed draws the interval.

    Raises:
        DataError: If a column that a model needs is missing from the rows.
        CorruptError: If a graph cannot be run.
    """
    rows = _Rows(challenger, gate, project)
    found: dict[str, object] = {}
    if rows.frame.height:
        scores = rows.scores(challenger)
        rival, note = (None, "") if champion is None else _rival(rows, champion)
        found = {**_judged(rows, scores, rival), "note": note}
        found["champion"] = None if champion is None or rival is None else champion.digest
        found["latency_ms"] = latency_ms(challenger, rows.frame)
    return Evidence(
        metric=rows.metric,
        challenger=challenger.digest,
        num_rows=rows.frame.height,
        num_unknown=gate.height - rows.frame.height,
        size_mb=sum(map(len, challenger.files.values())) / 1e6,
        versions=challenger.manifest.versions,
        **found,
    )


class _Rows:
    """The gate rows whose label the challenger knows."""

    def __init__(self, challenger: Bundle, gate: pl.DataFrame, project: Project) -> None:
        manifest = challenger.manifest
        target, is_known = known_labels(gate["_label"], manifest.task, manifest.classes)
        self.frame = gate.filter(pl.Series(is_known, dtype=pl.Boolean))
        self.target: Rows = target[is_known]
        self.task, self.classes = manifest.task, manifest.classes
        self.spec, self.seed = project.gate, project.train.seed
        self.metric = self.spec.metric or default_metric(manifest.task)
        self.time = project.main.time

    @cached_property
    def times(self) -> pl.Series | None:
        if self.time is None or self.time not in self.frame.columns:
            return None
        times = self.frame[self.time]
        return times.cast(pl.Datetime("us", "UTC")) if times.dtype.is_temporal() else None

    @cached_property
    def groups(self) -> Rows | None:
        if self.times is None or self.times.null_count():
            return None
        return time_groups(self.times.dt.epoch("s").to_numpy())

    def scores(self, bundle: Bundle) -> Floats:
        """Score the rows; the classes in the challenger's order."""
        scores = np.asarray(score_frame(bundle, self.frame), np.float64)
        classes = bundle.manifest.classes
        if classes == self.classes:
            return scores
        return align_classes(scores, classes, self.classes)

    def gain(self, challenger: Floats, rival: Floats) -> Interval:
        return paired_gain(
            self.metric,
            self.target,
            challenger,
            rival,
            confidence=self.spec.confidence,
            seed=self.seed,
            groups=self.groups,
        )


def _rival(rows: _Rows, champion: Bundle) -> tuple[Floats | None, str]:
    """Score the champion, or say why it cannot be compared: it then stands in nobody's way."""
    if champion.manifest.task != rows.task:
        return None, f"the champion answers another task, {champion.manifest.task}"
    try:
        scores = rows.scores(champion)
    except DataError as error:
        return None, f"the champion cannot read the gate rows: {error}"
    if num := _num_not_finite(scores):
        return None, f"the champion's prediction is no number for {num} of {len(scores)} rows"
    return scores, ""


def _judged(rows: _Rows, scores: Floats, rival: Floats | None) -> dict[str, object]:
    if num := _num_not_finite(scores):
        text = f"the challenger's prediction is no number for {num} of {len(scores)} rows"
        return {"problems": (text,)}
    constant = constant_prediction(rows.task, rows.target, len(rows.target), len(rows.classes))
    found: dict[str, object] = {
        "scores": _all_metrics(rows, scores),
        "champion_scores": {} if rival is None else _all_metrics(rows, rival),
        "num_groups": 0 if rows.groups is None else len(np.unique(rows.groups)),
        "slices": _slices(rows, scores, rival),
        **_range(rows),
    }
    try:
        return found | {
            "constant_score": metric(rows.metric, rows.target, constant),
            "gain_over_constant": rows.gain(scores, constant),
            "gain": None if rival is None else rows.gain(scores, rival),
        }
    except ValueError as error:
        return found | {"problems": (f"gate.metric could not be measured: {error}",)}


def _num_not_finite(scores: Floats) -> int:
    return int((~np.isfinite(scores).reshape(len(scores), -1).all(axis=1)).sum())


def _range(rows: _Rows) -> dict[str, object]:
    if rows.times is None:
        return {}
    moments = (rows.times.min(), rows.times.max())
    first, last = (m.isoformat() if isinstance(m, datetime) else None for m in moments)
    return {"first": first, "last": last}


def _all_metrics(rows: _Rows, scores: Floats) -> dict[str, float]:
    found = {}
    for name in dict.fromkeys((rows.metric, *task_metrics(rows.task))):
        try:
            found[name] = metric(name, rows.target, scores)
        except ValueError:
            continue  # such as an AUC of one class: only the judged metric has to be there
    return found


def _slices(rows: _Rows, scores: Floats, rival: Floats | None) -> tuple[SliceEvidence, ...]:
    found = [part for column in rows.spec.slices for part in _slice(rows, scores, rival, column)]
    found.sort(key=lambda s: s.challenger, reverse=not is_higher_better(rows.metric))
    return tuple(found[:_MAX_SLICES])


def _slice(
    rows: _Rows, scores: Floats, rival: Floats | None, column: str
) -> Iterable[SliceEvidence]:
    if column not in rows.frame.columns:
        return
    texts = rows.frame[column].cast(pl.String).fill_null("null").to_numpy()
    values, counts = np.unique(texts, return_counts=True)
    for value in values[counts >= rows.spec.slice_min_rows]:
        at = texts == value
        try:
            yield SliceEvidence(
                column=column,
                value=str(value),
                num_rows=int(at.sum()),
                challenger=metric(rows.metric, rows.target[at], scores[at]),
                champion=None if rival is None else metric(rows.metric, rows.target[at], rival[at]),
            )
        except ValueError:
            continue  # an AUC of a slice with one class says nothing
