import numpy as np
import pytest

from everloop.monitor import compare_versions


@pytest.mark.parametrize("metric", ["log_loss", "auc", "brier", "accuracy"])
def test_a_champion_that_is_worse_than_its_predecessor_shows(metric: str) -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 2, 3000)
    target = (rng.uniform(size=3000) < 1 / (1 + np.exp(-truth))).astype(np.int64)
    good, poor = 1 / (1 + np.exp(-truth)), 1 / (1 + np.exp(-rng.normal(0, 2, 3000)))
    days = np.arange(3000) // 200
    assert compare_versions(target, poor, good, metric, 0.99, days).high < 0
    assert compare_versions(target, good, poor, metric, 0.99, days).low > 0


def test_an_equal_champion_is_rarely_undone_however_often_one_looks() -> None:
    rng = np.random.default_rng(0)
    num_undone = 0
    for _ in range(50):
        target = rng.integers(0, 2, 3000)
        new, old = (np.clip(0.5 + rng.normal(0, 0.1, 3000), 0.01, 0.99) for _ in range(2))
        num_undone += any(
            compare_versions(target[:n], new[:n], old[:n], "log_loss", 0.95).high < 0
            for n in range(500, 3001, 250)
        )
    assert num_undone <= 2
