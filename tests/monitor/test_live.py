from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from everloop.monitor import LiveJob, LiveMetric, live_metrics, newest_metrics, skill

START = datetime(2013, 3, 1, tzinfo=UTC)
WEEK = timedelta(days=7)
BINARY = LiveJob(task="binary", classes=("0", "1"))


def served(
    num_days: int = 21, *, per_day: int = 50, share: float = 0.2, seed: int = 0
) -> pl.DataFrame:
    """Labelled predictions; version 2 takes over after ten days."""
    rng = np.random.default_rng(seed)
    day = np.repeat(np.arange(num_days), per_day)
    late = rng.uniform(size=len(day)) < share
    return pl.DataFrame(
        {
            "_time": [START + timedelta(days=int(d), minutes=i % 1440) for i, d in enumerate(day)],
            "_version": np.where(day < 10, 1, 2),
            "_prediction": np.clip(share + 0.3 * late + rng.normal(0, 0.1, len(day)), 0.01, 0.99),
            "_label": late,
        },
        schema_overrides={"_time": pl.Datetime("us", "UTC")},
    )


def one(found: list[LiveMetric], name: str) -> LiveMetric:
    return next(m for m in found if m.metric == name)


def test_every_version_is_measured_in_every_window() -> None:
    found = live_metrics(served(), BINARY, window=WEEK)
    windows = {(m.start, m.version): m.num_rows for m in found}
    assert sum(windows.values()) == 21 * 50
    assert all(m.start.weekday() == 3 for m in found)  # 1 January 1970 was a Thursday
    assert [m.version for m in found] == sorted(m.version for m in found)
    assert {m.metric for m in found} == {"log_loss", "auc", "brier", "accuracy"}
    assert all(m.low <= m.value <= m.high for m in found if m.low and m.value and m.high)


def test_a_window_does_not_change_when_later_rows_come() -> None:
    early = live_metrics(served().head(500), BINARY, window=WEEK)
    late = live_metrics(served(), BINARY, window=WEEK)
    assert early[0] == late[0]


def test_skill_hardly_moves_with_the_base_rate_but_log_loss_does() -> None:
    found = [
        newest_metrics(served(9, per_day=2000, share=share), BINARY, window=WEEK)
        for share in (0.1, 0.4)
    ]
    losses = [one(metrics, "log_loss").value or 0 for metrics in found]
    skills = [one(metrics, "log_loss").skill or 0 for metrics in found]
    assert losses[1] > 2 * losses[0]
    assert 0 < skills[0] < 1
    assert abs(skills[1] - skills[0]) < 0.2


def test_the_newest_window_ends_with_the_newest_row() -> None:
    found = newest_metrics(served(), BINARY, window=timedelta(days=2))
    assert {(m.version, m.num_rows) for m in found} == {(2, 100)}
    assert newest_metrics(served().head(0), BINARY, window=WEEK) == []


def test_too_few_rows_say_so() -> None:
    job = LiveJob(task="binary", classes=("0", "1"), min_rows=200)
    found = newest_metrics(served(3), job, window=WEEK)[0]
    assert (found.value, found.skill) == (None, None)
    assert found.note == "150 rows, fewer than monitor.min_rows 200"


def test_an_auc_of_one_class_is_a_note_and_not_an_error() -> None:
    frame = served(2).with_columns(_label=pl.lit("0"))
    found = one(newest_metrics(frame, BINARY, window=WEEK), "auc")
    assert found.value is None
    assert "labels are the same" in found.note


def test_a_label_that_is_no_known_class_is_left_out() -> None:
    frame = served(2).with_columns(
        _label=pl.Series(["1", "maybe"] + ["0"] * 98), _prediction=pl.lit(0.5)
    )
    assert newest_metrics(frame, BINARY, window=WEEK)[0].num_rows == 99


def test_lists_of_probabilities_are_measured() -> None:
    job = LiveJob(task="multiclass", classes=("a", "b", "c"))
    frame = served(1, per_day=4).with_columns(
        _label=pl.Series(["a", "b", "c", "c"]),
        _prediction=pl.Series([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.5, 0.5]]),
    )
    found = one(newest_metrics(frame, job, window=WEEK), "log_loss")
    assert found.num_rows == 3
    assert found.value == pytest.approx(-np.log(0.8))


def test_values_are_measured() -> None:
    job = LiveJob(task="regression")
    frame = served(2).with_columns(_label=pl.col("_prediction") + 2.0)
    found = one(newest_metrics(frame, job, window=WEEK), "rmse")
    assert found.value == pytest.approx(2.0)


def test_a_perfect_model_has_skill_one_and_a_constant_one_zero() -> None:
    target = np.array([0, 1, 0, 0])
    for name in ("auc", "log_loss", "brier", "accuracy"):
        assert skill(name, "binary", target, target.astype(float)) == pytest.approx(1, abs=1e-5)
        assert skill(name, "binary", target, np.full(4, 0.25)) == pytest.approx(0)
    assert skill("rmse", "regression", np.ones(3), np.zeros(3)) is None
