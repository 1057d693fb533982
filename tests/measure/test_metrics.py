from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from everloop.measure.metrics import (
    align_classes,
    constant_prediction,
    default_metric,
    is_higher_better,
    metric,
    row_losses,
    task_metrics,
)

Array = npt.NDArray[Any]


def binary(num_rows: int = 500, *, decimals: int = 2, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 2, num_rows)
    return target, np.round(rng.uniform(0, 1, num_rows) * 0.7 + target * 0.3, decimals)


def multiclass(num_rows: int = 400, num_classes: int = 4, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    target = rng.integers(0, num_classes, num_rows)
    prediction = rng.dirichlet(np.ones(num_classes), num_rows)
    return target, prediction


def test_binary_metrics_agree_with_scikit_learn() -> None:
    target, score = binary()
    clipped = np.clip(score, np.finfo(np.float32).eps, 1 - np.finfo(np.float32).eps)
    assert metric("auc", target, score) == pytest.approx(sk.roc_auc_score(target, score))
    assert metric("log_loss", target, score) == pytest.approx(sk.log_loss(target, clipped))
    assert metric("brier", target, score) == pytest.approx(sk.brier_score_loss(target, score))
    assert metric("accuracy", target, score) == pytest.approx(
        sk.accuracy_score(target, score >= 0.5)
    )


def test_multiclass_metrics_agree_with_scikit_learn() -> None:
    target, scores = multiclass()
    assert metric("auc", target, scores) == pytest.approx(
        sk.roc_auc_score(target, scores, multi_class="ovr")
    )
    assert metric("log_loss", target, scores) == pytest.approx(sk.log_loss(target, scores))
    assert metric("brier", target, scores) == pytest.approx(sk.brier_score_loss(target, scores))
    assert metric("accuracy", target, scores) == pytest.approx(
        sk.accuracy_score(target, scores.argmax(1))
    )


def test_regression_metrics_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    target, value = rng.normal(size=(2, 300))
    assert metric("rmse", target, value) == pytest.approx(sk.root_mean_squared_error(target, value))
    assert metric("mae", target, value) == pytest.approx(sk.mean_absolute_error(target, value))


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=40).filter(
        lambda rows: len({label for label, _ in rows}) == 2
    )
)
def test_auc_with_ties_agrees_with_scikit_learn(rows: list[tuple[bool, int]]) -> None:
    target = np.array([label for label, _ in rows], np.int64)
    score = np.array([value / 5 for _, value in rows])
    assert metric("auc", target, score) == pytest.approx(sk.roc_auc_score(target, score))


def test_a_multiclass_auc_leaves_out_a_class_that_does_not_occur() -> None:
    target, scores = multiclass()
    present = target < 3
    found = metric("auc", target[present], scores[present])
    expected = [sk.roc_auc_score(target[present] == k, scores[present, k]) for k in range(3)]
    assert found == pytest.approx(np.mean(expected))


def test_a_certain_and_wrong_prediction_costs_a_finite_amount() -> None:
    assert metric("log_loss", np.array([0]), np.array([1.0])) == pytest.approx(15.94, abs=0.01)
    assert metric("log_loss", np.array([0]), np.array([1.0], np.float32)) < 16


@pytest.mark.parametrize(
    ("name", "target", "prediction", "message"),
    [
        ("auc", [1, 1], [0.1, 0.2], "labels are the same"),
        ("auc", [1, 1], [[0.1, 0.9], [0.5, 0.5]], "second class"),
        ("log_loss", [0, 1], [0.1], "same number of rows"),
        ("log_loss", [], [], "at least one"),
        ("rmse", [0.0, 1.0], [0.1, np.nan], "1 of 2 rows have a prediction that is no number"),
        ("mae", [np.inf, 1.0], [0.1, 0.2], "label that is no number"),
        ("log_loss", [0, 3], [[0.5, 0.5], [0.5, 0.5]], "no class code of 0 to 1"),
        ("mape", [0], [0], "expected one of auc"),
        ("rmse", [0], [[0, 1]], "shape"),
    ],
)
def test_a_wrong_argument_is_named(
    name: str, target: list[Any], prediction: list[Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        metric(name, np.array(target), np.array(prediction))


def test_row_losses_add_up_to_the_metric() -> None:
    target, score = binary()
    assert row_losses("brier", target, score).mean() == pytest.approx(
        metric("brier", target, score)
    )
    with pytest.raises(ValueError, match="no mean over rows"):
        row_losses("auc", target, score)


def test_each_metric_has_a_direction_and_each_task_its_metrics() -> None:
    assert [is_higher_better(name) for name in ("auc", "accuracy")] == [True, True]
    assert not any(is_higher_better(name) for name in ("log_loss", "brier", "rmse", "mae"))
    assert default_metric("binary") == task_metrics("binary")[0] == "log_loss"
    assert default_metric("regression") == task_metrics("regression")[0] == "rmse"


def test_a_constant_predictor_says_the_base_rate() -> None:
    assert constant_prediction("binary", np.array([0, 0, 0, 1]), 2).tolist() == [0.25, 0.25]
    assert constant_prediction("multiclass", np.array([0, 2]), 1, 3).tolist() == [[0.5, 0, 0.5]]
    with pytest.raises(ValueError, match="at least one label"):
        constant_prediction("binary", np.array([]), 2)


def test_probabilities_are_put_into_another_models_classes() -> None:
    three = align_classes(np.array([[0.9, 0.1]]), ("b", "a"), ("a", "b", "c"))
    assert three.tolist() == [[0.1, 0.9, 0.0]]
    assert align_classes(np.array([0.75]), ("0", "1"), ("1", "0")).tolist() == [0.25]
    assert align_classes(np.array([0.75]), ("0", "1"), ("1", "2")).tolist() == [0.0]
