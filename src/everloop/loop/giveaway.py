"""Columns that give the label away: each alone tells it, mostly for being known only with it."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from everloop.measure.metrics import Floats, metric
from everloop.rows.labels import label_codes
from everloop.spec.manifest import Manifest, Task

_LABEL, _MIN_ROWS, _MIN_OTHERS = "_label", 50, 10
# More rows would only make this slower; these say it surely enough.
_MAX_ROWS, _MAX_FIT_ROWS = 10_000, 50_000
_LEAST = {"binary": ("auc", 0.999), "multiclass": ("accuracy", 0.999), "regression": ("r2", 0.9999)}


def find_giveaways(fit: pl.DataFrame, tune: pl.DataFrame, manifest: Manifest) -> tuple[str, ...]:
    """Name the columns each of which alone nearly tells the label of the tune rows.

    A number is taken as it stands, and so is whether there is a value at all; of a text, or where
    there are many classes, what became of the fit rows that have the same value. Few rows, or
    hardly any of a second class, say nothing.

    Args:
        fit: Labelled rows, with ``_label``.
        tune: Newer ones.
        manifest: Of the model: its columns, task and classes.

    Returns:
        A sentence for each.
    """
    fit, tune = fit.tail(_MAX_FIT_ROWS), tune.tail(_MAX_ROWS)
    task = manifest.task
    known, target = (
        label_codes(rows[_LABEL], task, manifest.classes).astype(np.float64) for rows in (fit, tune)
    )
    _, counts = np.unique(target, return_counts=True)
    if tune.height < _MIN_ROWS or tune.height - counts.max() < _MIN_OTHERS:
        return ()
    measure, least = _LEAST[task]
    found = {
        column.name: max(
            _strengths(fit[column.name], tune[column.name], known, target, task), default=0.0
        )
        for column in manifest.columns
    }
    return tuple(
        f"column {name!r} alone tells the label ({measure} {strength:.4f} on {tune.height} tune "
        "rows); if it is only known together with the label, name it in train.exclude"
        for name, strength in found.items()
        if strength >= least
    )


def _strengths(
    fit: pl.Series, tune: pl.Series, known: Floats, target: Floats, task: Task
) -> Iterator[float]:
    if task == "multiclass":
        yield _share_right(fit, tune, known, target)
        return
    if tune.dtype == pl.String:
        yield _strength(_means(fit, tune, known), target, task)
        return
    values = tune.to_physical().cast(pl.Float64).fill_nan(None)
    if 0 < values.null_count() < len(values):
        yield _strength(values.is_null().cast(pl.Float64).to_numpy(), target, task)
    there = values.is_not_null().to_numpy()
    if there.sum() >= _MIN_ROWS:
        yield _strength(values.drop_nulls().to_numpy(), target[there], task)


def _strength(score: Floats, target: Floats, task: Task) -> float:
    """Return the AUC of a score, either way round, or how much of a number lies on a line."""
    if np.ptp(score) == 0 or np.ptp(target) == 0:
        return 0.0
    if task == "regression":
        return float(np.corrcoef(score, target)[0, 1] ** 2)
    area = metric("auc", target, score)
    return max(area, 1 - area)


def _means(fit: pl.Series, tune: pl.Series, known: Floats) -> Floats:
    """Return for each tune row the mean label of the fit rows that have its value."""
    means = pl.DataFrame({"value": fit, "mean": known}).group_by("value").agg(pl.col("mean").mean())
    found = pl.DataFrame({"value": tune}).join(
        means, on="value", how="left", nulls_equal=True, maintain_order="left"
    )
    return found["mean"].fill_null(known.mean()).to_numpy()


def _share_right(fit: pl.Series, tune: pl.Series, known: Floats, target: Floats) -> float:
    """Return how often the likeliest class of a value's fit rows is that of the tune row."""
    usual = (
        pl.DataFrame({"value": fit, "class": known})
        .group_by("value")
        .agg(pl.col("class").mode().min())
    )
    found = pl.DataFrame({"value": tune, "target": target}).join(
        usual, on="value", how="left", nulls_equal=True
    )
    return int((found["class"] == found["target"]).sum()) / len(target)
