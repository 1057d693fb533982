"""What the loop knows of the world at one moment of stream time: the evidence for its decisions."""

from collections.abc import Mapping
from datetime import datetime

import polars as pl

from everloop.drift import DriftReport, measure_drift
from everloop.frameworks.scoring import score_frame
from everloop.loop.cut import Cut, Wanted
from everloop.loop.dataset import (
    LABELS,
    PREDICTIONS,
    cut_now,
    feedback_rows,
    has_time,
    source_rows,
)
from everloop.loop.events import Comparison
from everloop.loop.logged import is_other_answer, read_answer, read_logged
from everloop.loop.workspace import Workspace
from everloop.measure.intervals import time_groups
from everloop.measure.metrics import align_classes, default_metric
from everloop.measure.profile import Profile, profile_like
from everloop.monitor import LiveJob, LiveMetric, compare_versions, newest_metrics
from everloop.monitor.live import read_predictions
from everloop.store.bundles import Bundle


class Looking:
    """Measures what was served since a moment."""

    def __init__(self, ws: Workspace, now: datetime) -> None:
        """Pin the tables as they are now.

        Args:
            ws: The workspace.
            now: Stream time.
        """
        self._ws = ws
        self._now = now
        self._cut = cut_now(ws, with_served=True)
        self._schema = dict(source_rows(ws, self._cut).collect_schema())

    @property
    def has_feedback(self) -> bool:
        """Whether anything was served and labelled at all."""
        return PREDICTIONS in self._cut.versions and LABELS in self._cut.versions

    def live(self, bundle: Bundle) -> list[LiveMetric]:
        """Measure what was served in the monitor's window, by version."""
        if not self.has_feedback:
            return []
        window = self._ws.project.monitor.window
        since = self._now - self._ws.project.label.known_after - window
        rows = self._labelled(since, bundle)
        return newest_metrics(rows, self._job(bundle), window=window)

    def drift(self, bundle: Bundle) -> DriftReport | None:
        """Compare the requests of the monitor's window with what the champion learned from."""
        if PREDICTIONS not in self._cut.versions:
            return None
        reference = Profile.model_validate_json(bundle.files["profile.json"])
        table = self._ws.tables.table(PREDICTIONS)
        served = table.scan(self._cut.versions[PREDICTIONS]).filter(
            pl.col("_time") > self._now - self._ws.project.monitor.window,
            has_time(self._ws, "_time"),
        )
        # Another version may have been sent fewer columns; their absence is no drift.
        versions = served.select(pl.col("_version").unique()).collect()["_version"].to_list()
        like = [number for number in versions if self._is_like(number, bundle)]
        if not like:
            return None
        have = served.collect_schema()
        inputs = [
            read_logged(column.name, have, _TYPES[column.kind])
            for column in bundle.manifest.columns
        ]
        recent = (
            served.filter(pl.col("_version").is_in(like))
            .select(*inputs, _said(bundle, have))
            .collect()
        )
        return measure_drift(reference, profile_like(recent, reference), self._ws.project.monitor)

    def comparison(self, champion: int, former: int, promoted_at: datetime) -> Comparison | None:
        """Score two versions on the rows since a promotion, within ``retrain.rollback_window``."""
        if not self.has_feedback:
            return None
        spec = self._ws.project.retrain
        since = max(promoted_at, self._now - spec.rollback_window)
        new, old = self._ws.version_bundle(champion), self._ws.version_bundle(former)
        if new.manifest.task != old.manifest.task or not set(_names(old)) <= set(_names(new)):
            return None  # what the former one needs is no longer sent
        job = self._job(new)
        rows, target, _ = read_predictions(self._labelled(since, new), job)
        if rows.height < spec.rollback_min_rows:
            return None
        name = self._ws.project.gate.metric or default_metric(new.manifest.task)
        was = align_classes(score_frame(old, rows), old.manifest.classes, new.manifest.classes)
        groups = time_groups(rows[job.time].dt.epoch("s").to_numpy())
        try:
            gain = compare_versions(
                target, score_frame(new, rows), was, name, spec.rollback_confidence, groups
            )
        except ValueError:
            # Such as rows of one class: nothing can be said yet.
            return None
        return Comparison(version=champion, former=former, num_rows=rows.height, gain=gain)

    def _labelled(self, since: datetime, bundle: Bundle) -> pl.DataFrame:
        # The project file may name other columns by now than this version was made of.
        inputs = {column.name: _TYPES[column.kind] for column in bundle.manifest.columns}
        schema = {**inputs, **self._schema}
        rows = feedback_rows(self._ws, self._cut, schema, Wanted(since=since))
        have, task = rows.collect_schema(), bundle.manifest.task
        # Answers to another kind of task are no predictions of this one.
        return (
            rows.filter(~is_other_answer(have, task))
            .with_columns(read_answer(have, task))
            .collect()
        )

    def _is_like(self, version: int, bundle: Bundle) -> bool:
        """Whether a version answers the same question and was sent every column of the bundle."""
        try:
            other = self._ws.bundles.manifest(self._ws.registry.version(version).bundle)
        except KeyError:
            return False  # it was freed since
        names = {column.name for column in other.columns}
        return other.task == bundle.manifest.task and names >= set(_names(bundle))

    def _job(self, bundle: Bundle) -> LiveJob:
        project = self._ws.project
        return LiveJob(
            task=bundle.manifest.task,
            classes=bundle.manifest.classes,
            time=project.main.time or "_time",
            min_rows=project.monitor.min_rows,
        )


def _said(bundle: Bundle, have: Mapping[str, pl.DataType]) -> pl.Expr:
    """Return what a version answered, as its profile holds it: of many classes the likeliest."""
    manifest = bundle.manifest
    said = read_answer(have, manifest.task)
    if manifest.task == "multiclass":
        classes = dict(enumerate(manifest.classes))
        said = said.list.arg_max().replace_strict(classes, default=None, return_dtype=pl.String)
    return said.alias(manifest.outputs[0].name)


def num_labelled(ws: Workspace, cut: Cut) -> int:
    """Return about how many labelled rows there are: the source's rows, and logged labels.

    A label that came twice or for an unknown prediction counts too: the number only says when there
    is something new, so it is read from the tables' logs, at no cost that grows with the rows.
    """
    names = [f"clean/{ws.project.main.name}", LABELS]
    return sum(
        ws.tables.table(name).num_rows(cut.versions[name]) for name in names if name in cut.versions
    )


def _names(bundle: Bundle) -> list[str]:
    return [column.name for column in bundle.manifest.columns]


_TYPES: dict[str, pl.DataType] = {
    "number": pl.Float64(),
    "category": pl.String(),
    "time": pl.Datetime("us", "UTC"),
}
