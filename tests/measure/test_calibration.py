from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from everloop.measure.calibration import fit_calibration, to_prediction
from everloop.measure.metrics import metric
from everloop.spec.manifest import Calibration, Task


def logits(
    num_rows: int = 20_000, *, slope: float = 0.5, bias: float = -1.0
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    rng = np.random.default_rng(0)
    raw = rng.normal(0, 2, num_rows)
    return raw, (
        rng.uniform(size=num_rows)
        < to_prediction("binary", raw, Calibration(slope=slope, bias=bias))
    ).astype(np.int64)


def test_the_sigmoid_agrees_with_logistic_regression() -> None:
    raw, target = logits()
    found = fit_calibration("binary", raw, target)
    rival = LogisticRegression(C=1e6).fit(raw[:, None], target)
    assert found.slope == pytest.approx(rival.coef_[0, 0], abs=2e-3)
    assert found.bias == pytest.approx(rival.intercept_[0], abs=2e-3)


def test_an_over_confident_model_gets_a_better_log_loss() -> None:
    raw, target = logits()
    before = metric("log_loss", target, to_prediction("binary", raw, Calibration()))
    after = to_prediction("binary", raw, fit_calibration("binary", raw, target))
    assert metric("log_loss", target, after) < before - 0.1


def test_a_temperature_is_found_again() -> None:
    rng = np.random.default_rng(0)
    raw = rng.normal(0, 3, (20_000, 3))
    shares = to_prediction("multiclass", raw, Calibration(slope=0.4))
    target = (rng.uniform(size=(20_000, 1)) > shares.cumsum(1)).sum(1)
    found = fit_calibration("multiclass", raw, target)
    assert found.slope == pytest.approx(0.4, abs=0.02)
    assert found.bias == 0
    np.testing.assert_allclose(to_prediction("multiclass", raw, found).sum(1), 1)


def test_a_line_is_found_again() -> None:
    raw = np.linspace(0, 1, 5000)
    found = fit_calibration("regression", raw, 2 * raw + 3)
    assert found.slope == pytest.approx(2, abs=0.01)
    np.testing.assert_allclose(
        to_prediction("regression", raw, found).mean(), (2 * raw + 3).mean(), rtol=1e-9
    )


def test_few_rows_hardly_move_the_slope() -> None:
    raw = np.array([-1.0, 1.0, -2.0, 2.0])
    found = fit_calibration("binary", raw, np.array([0, 1, 0, 1]))
    assert 0.8 < found.slope < 2
    assert abs(found.bias) < 0.5


def test_a_model_that_ranks_the_wrong_way_is_not_turned_round() -> None:
    raw, target = logits(slope=-2.0)
    assert fit_calibration("binary", raw, target).slope == 0.05
    assert fit_calibration("regression", raw, -5 * raw).slope == 0.05


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_labels_of_one_class_change_nothing(task: Task) -> None:
    raw = np.zeros((5, 3)) if task == "multiclass" else np.zeros(5)
    assert fit_calibration(task, raw, np.ones(5, np.int64)) == Calibration()


def test_no_rows_change_nothing() -> None:
    assert fit_calibration("regression", np.empty(0), np.empty(0)) == Calibration()


def test_a_constant_output_gets_a_bias_alone() -> None:
    found = fit_calibration("regression", np.full(10, 0.1), np.full(10, 3.0))
    assert (found.slope, round(found.bias, 9)) == (1.0, 2.9)


def test_a_number_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="no finite number"):
        fit_calibration("binary", np.array([np.nan, 0.0]), np.array([0, 1]))
    with pytest.raises(ValueError, match="2 outputs and 1 labels"):
        fit_calibration("binary", np.zeros(2), np.array([0]))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(-1e6, 1e6), st.booleans()),
        min_size=1,
        max_size=30,
    )
)
def test_a_calibration_is_always_finite_and_keeps_the_order(rows: list[tuple[float, bool]]) -> None:
    raw = np.array([x for x, _ in rows])
    target = np.array([y for _, y in rows], np.int64)
    found = fit_calibration("binary", raw, target)
    assert 0.05 <= found.slope <= 20
    order = np.argsort(raw, kind="stable")
    assert (np.diff(to_prediction("binary", raw, found)[order]) >= 0).all()
