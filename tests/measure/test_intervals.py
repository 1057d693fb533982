import time
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats  # type: ignore[import-untyped]

from everloop.measure.intervals import (
    paired_gain,
    score_interval,
    sequential_gain,
    time_groups,
)
from everloop.measure.metrics import metric
from everloop.measure.student import student_quantile

Array = npt.NDArray[Any]


def two_models(num_rows: int, seed: int = 0) -> tuple[Array, Array, Array]:
    """A target, a better and a worse model."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 1.5, num_rows)
    target = (rng.uniform(size=num_rows) < 1 / (1 + np.exp(-truth))).astype(np.int64)
    better, worse = (
        1 / (1 + np.exp(-truth - rng.normal(0, noise, num_rows))) for noise in (0.3, 1.0)
    )
    return target, better, worse


@pytest.mark.parametrize("name", ["auc", "log_loss", "brier", "accuracy"])
def test_a_better_challenger_has_a_gain_over_zero_whatever_the_metric(name: str) -> None:
    target, better, worse = two_models(4000)
    gain = paired_gain(name, target, better, worse, confidence=0.95, seed=0)
    loss = paired_gain(name, target, worse, better, confidence=0.95, seed=0)
    assert 0 < gain.low < gain.estimate < gain.high
    assert loss.estimate == pytest.approx(-gain.estimate)
    assert loss.high < 0
    sign = 1 if name in ("auc", "accuracy") else -1
    expected = sign * (metric(name, target, better) - metric(name, target, worse))
    assert gain.estimate == pytest.approx(expected)


@pytest.mark.parametrize("name", ["rmse", "mae"])
def test_gains_of_values_are_in_the_labels_unit(name: str) -> None:
    rng = np.random.default_rng(0)
    target = rng.normal(0, 10, 2000)
    better, worse = target + rng.normal(0, 1, 2000), target + rng.normal(0, 2, 2000)
    gain = paired_gain(name, target, better, worse, confidence=0.95, seed=0)
    assert 0 < gain.low < gain.estimate < gain.high
    assert gain.estimate == pytest.approx(1.0 if name == "rmse" else 0.8, abs=0.1)


@pytest.mark.parametrize("name", ["auc", "log_loss", "accuracy"])
def test_the_interval_agrees_with_the_plain_bootstrap_over_groups(name: str) -> None:
    target, better, worse = two_models(3000)
    groups = np.arange(3000) // 75
    found = paired_gain(name, target, better, worse, confidence=0.9, seed=1, groups=groups)
    rng = np.random.default_rng(2)
    sign = 1 if name in ("auc", "accuracy") else -1
    plain = []
    for _ in range(400):
        rows = np.concatenate([np.arange(g * 75, g * 75 + 75) for g in rng.integers(0, 40, 40)])
        scores = [metric(name, target[rows], model[rows]) for model in (better, worse)]
        plain.append(sign * (scores[0] - scores[1]))
    low, high = np.quantile(plain, [0.05, 0.95])
    assert found.high - found.low == pytest.approx(high - low, rel=0.15)


def test_a_multiclass_auc_has_an_interval() -> None:
    rng = np.random.default_rng(0)
    target = rng.integers(0, 3, 2000)
    better = np.eye(3)[target] * 0.3 + rng.dirichlet(np.ones(3), 2000) * 0.7
    gain = paired_gain(
        "auc", target, better, rng.dirichlet(np.ones(3), 2000), confidence=0.95, seed=0
    )
    assert 0 < gain.low < gain.high < 1


def test_models_that_agree_have_no_gain_and_no_doubt() -> None:
    target, better, _ = two_models(500)
    gain = paired_gain("log_loss", target, better, better, confidence=0.95, seed=0)
    assert (gain.estimate, gain.low, gain.high) == (0, 0, 0)


def test_the_same_seed_gives_the_same_interval() -> None:
    target, better, worse = two_models(5000)
    one, two = (
        paired_gain("auc", target, better, worse, confidence=0.95, seed=7) for _ in range(2)
    )
    assert one == two


@pytest.mark.parametrize("num_groups", [5, 7, 14, 60])
def test_an_interval_over_days_covers_the_truth_as_often_as_it_says(num_groups: int) -> None:
    rng = np.random.default_rng(num_groups)
    groups = np.repeat(np.arange(num_groups), 20)
    num_covered = 0
    for _ in range(300):
        per_day = np.repeat(rng.normal(0, 1, num_groups), 20)
        target = np.zeros(len(groups))
        challenger = 10 + per_day + rng.normal(0, 1, len(groups))
        gain = paired_gain(
            "mae", target, challenger, target + 10, confidence=0.9, seed=0, groups=groups
        )
        num_covered += gain.low <= 0 <= gain.high
    # Rows taken one by one would cover less than half of the time here.
    assert 0.85 < num_covered / 300 < 0.97


def test_looking_again_and_again_rarely_fools_the_sequence() -> None:
    rng = np.random.default_rng(0)
    num_fooled = num_fooled_plain = 0
    for _ in range(100):
        a, b = np.abs(rng.normal(10, 1, (2, 2000)))
        for num in range(100, 2001, 100):
            found = sequential_gain("mae", np.zeros(num), a[:num], b[:num], confidence=0.9)
            if not found.low <= 0 <= found.high:
                num_fooled += 1
                break
        for num in range(100, 2001, 100):
            found = score_interval("mae", np.zeros(num), a[:num], confidence=0.9)
            if not found.low <= 10 <= found.high:
                num_fooled_plain += 1
                break
    assert num_fooled <= 10
    assert num_fooled_plain > 20


def test_the_sequence_is_about_half_as_wide_again() -> None:
    target, better, worse = two_models(20_000)
    plain = paired_gain("log_loss", target, better, worse, confidence=0.99, seed=0)
    found = sequential_gain("log_loss", target, better, worse, confidence=0.99)
    assert 1.2 < (found.high - found.low) / (plain.high - plain.low) < 1.6
    assert found.low > 0


def test_a_score_has_an_interval_around_it() -> None:
    target, better, _ = two_models(5000)
    found = score_interval("auc", target, better, confidence=0.95)
    assert found.low < found.estimate == metric("auc", target, better) < found.high
    assert found.high - found.low < 0.05


def test_rows_are_grouped_by_day_and_by_hour_where_days_are_few() -> None:
    days = np.arange(20) * 86_400 + 5
    by_day = time_groups(days)
    assert by_day is not None
    assert by_day.tolist() == list(range(20))
    by_hour = time_groups(np.arange(30) * 1800)
    assert by_hour is not None
    assert len(np.unique(by_hour)) == 15
    assert time_groups(np.arange(100)) is None


def test_two_groups_give_a_wide_interval_and_one_group_gives_that_of_rows() -> None:
    target, better, worse = two_models(400)
    widths = []
    for groups in (None, np.zeros(400), np.arange(400) // 200):
        gain = paired_gain(
            "log_loss", target, better, worse, confidence=0.95, seed=0, groups=groups
        )
        widths.append(gain.high - gain.low)
    assert widths[0] == widths[1]


def test_an_interval_of_a_million_rows_takes_seconds_at_most() -> None:
    target, better, worse = two_models(1_000_000)
    start = time.process_time()
    paired_gain("auc", target, better, worse, confidence=0.95, seed=0)
    assert time.process_time() - start < 6


def test_students_quantile_agrees_with_scipy() -> None:
    for share in (0.6, 0.9, 0.975, 0.995, 0.9999):
        for freedom in (1, 2, 3, 4, 5, 8, 30, 1000):
            exact = stats.t.ppf(share, freedom)
            assert student_quantile(share, freedom) == pytest.approx(exact, rel=5e-4)


def test_a_confidence_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a share between 0 and 1"):
        paired_gain("mae", np.zeros(3), np.ones(3), np.zeros(3), confidence=1.0, seed=0)


def test_one_row_says_nothing_of_how_sure_a_score_is() -> None:
    target, better, worse = np.array([1]), np.array([0.9]), np.array([0.5])
    with pytest.raises(ValueError, match="one row does not tell"):
        paired_gain("brier", target, better, worse, confidence=0.95, seed=0)
    with pytest.raises(ValueError, match="one row does not tell"):
        sequential_gain("brier", target, better, worse, confidence=0.95)
    with pytest.raises(ValueError, match="one row does not tell"):
        score_interval("brier", target, better, confidence=0.95)
