"""Scores of predictions against labels: auc, log_loss, brier, accuracy, rmse, mae.

Shapes: a target is (N,), class codes (binary: 0 and 1) or values; a prediction is (N,), the
probability of class 1 or a value, or (N, K), a probability for each of K classes.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from everloop.spec.manifest import Task

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
Rows = npt.NDArray[Any]

# A graph answers in float32, whose largest value under 1 is one of these away; clipping at the
# same distance whatever the type keeps scores of the two comparable.
SMALLEST_PROBABILITY = float(np.finfo(np.float32).eps)

_HIGHER_IS_BETTER = {
    "auc": True,
    "accuracy": True,
    "log_loss": False,
    "brier": False,
    "rmse": False,
    "mae": False,
}


def is_higher_better(name: str) -> bool:
    """Tell whether a larger score of this metric is the better one.

    Raises:
        ValueError: If there is no metric of that name.
    """
    if name not in _HIGHER_IS_BETTER:
        raise ValueError(f"metric: found {name!r}, expected one of {', '.join(_HIGHER_IS_BETTER)}")
    return _HIGHER_IS_BETTER[name]


def default_metric(task: Task) -> str:
    """Name the metric that is judged where the project file names none."""
    return "rmse" if task == "regression" else "log_loss"


def task_metrics(task: Task) -> tuple[str, ...]:
    """Name the metrics that make sense for a task, the default one first."""
    return ("rmse", "mae") if task == "regression" else ("log_loss", "auc", "brier", "accuracy")


def metric(name: str, target: Rows, prediction: Rows) -> float:
    """Score predictions; the mean over rows, all rows alike.

    Args:
        name: ``auc`` (mean over the classes that occur, each against the rest, if there are more
            than two), ``log_loss`` (nats), ``brier`` (summed over the classes if there are more
            than two), ``accuracy``, ``rmse`` or ``mae`` (the label's unit).
        target: Class codes or values, shape (N,).
        prediction: Probabilities, shape (N,) or (N, K), or values, shape (N,).

    Raises:
        ValueError: If the shapes disagree, there are no rows, a number is not finite, or an AUC
            is asked of labels that are all the same.

    >>> metric("auc", np.array([0, 1, 0, 1]), np.array([0.1, 0.9, 0.5, 0.5]))
    0.875
    """
    is_higher_better(name)  # refuses a name it does not know
    if name == "auc":
        return _auc(*checked(name, target, prediction))
    loss = float(row_losses(name, target, prediction).mean())
    if name == "rmse":
        return float(np.sqrt(loss))
    return 1.0 - loss if name == "accuracy" else loss


def row_losses(name: str, target: Rows, prediction: Rows) -> Floats:
    """Say what each row adds to a metric that is a mean over rows, as a loss, shape (N,).

    A wrong class counts 1 for ``accuracy``; ``rmse`` gives squared errors.

    Raises:
        ValueError: As `metric`, and for ``auc``, which is no mean over rows.
    """
    if name not in _LOSSES:
        raise ValueError(f"metric {name!r} is no mean over rows; expected {', '.join(_LOSSES)}")
    return _LOSSES[name](*checked(name, target, prediction))


def constant_prediction(task: Task, target: Rows, num_rows: int, num_classes: int = 2) -> Floats:
    """Predict the same for every row: the share of each class in ``target``, or its mean.

    What a model must beat to have learned anything: its score moves with the base rate.

    Returns:
        Shape (num_rows,), or (num_rows, num_classes) for multiclass.

    Raises:
        ValueError: If ``target`` has no rows.
    """
    if len(target) == 0:
        raise ValueError("a constant predictor needs at least one label")
    if task != "multiclass":
        return np.full(num_rows, float(np.mean(target)))
    shares = np.bincount(target.astype(np.int64), minlength=num_classes) / len(target)
    return np.tile(shares, (num_rows, 1))


def align_classes(prediction: Floats, have: Sequence[str], want: Sequence[str]) -> Floats:
    """Put one model's probabilities into the order of another's classes.

    A class that the model does not know gets the probability 0, which costs it dearly.

    Args:
        prediction: Shape (N,) of the second of two classes, or (N, K).
        have: The classes it is in, as text.
        want: The classes to have it in.

    Returns:
        Shape (N,) as before, or (N, len(want)).
    """
    is_binary = prediction.ndim == 1
    columns = np.stack([1 - prediction, prediction], axis=1) if is_binary else prediction
    known = dict(zip(have, columns.T, strict=True))
    found = [known.get(name, np.zeros(len(prediction))) for name in want]
    return found[1] if is_binary else np.stack(found, axis=1)


def checked(name: str, target: Rows, prediction: Rows) -> tuple[Floats, Floats]:
    """Return both as float64 after a look at name, shapes and values.

    Raises:
        ValueError: As `metric`, but for the AUC's one class.
    """
    is_higher_better(name)
    target = np.asarray(target, np.float64)
    prediction = np.asarray(prediction, np.float64)
    if target.ndim != 1 or len(target) == 0 or len(prediction) != len(target):
        raise ValueError(
            f"{name}: found a target of shape {target.shape} and a prediction of shape "
            f"{prediction.shape}, expected the same number of rows, at least one"
        )
    if prediction.ndim != 1 and (prediction.ndim != 2 or name in ("rmse", "mae")):  # noqa: PLR2004
        raise ValueError(f"{name}: found a prediction of shape {prediction.shape}")
    for what, values in (("label", target), ("prediction", prediction)):
        if num := int(len(values) - np.isfinite(values).reshape(len(values), -1).all(axis=1).sum()):
            raise ValueError(f"{name}: {num} of {len(values)} rows have a {what} that is no number")
    if name not in ("rmse", "mae"):
        num_classes = prediction.shape[1] if prediction.ndim > 1 else 2
        if not np.isin(target, np.arange(num_classes)).all():
            raise ValueError(f"{name}: a label is no class code of 0 to {num_classes - 1}")
    return target, prediction


def placements(target: Floats, score: Floats) -> Floats:
    """Say for each row which share of the other class it is ranked rightly against, shape (N,).

    The mean over either class is the AUC; ties count one half.

    Raises:
        ValueError: If all labels are the same.

    Source:
        DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988); the ranks as in Sun and Xu, IEEE
        Signal Processing Letters 21 (2014).
    """
    is_one = target == 1
    num_ones, num_zeros = int(is_one.sum()), int((~is_one).sum())
    if num_ones == 0 or num_zeros == 0:
        raise ValueError(
            f"auc: all {len(target)} labels are the same; it needs rows of both classes"
        )
    found = np.empty(len(target))
    for own, rest, num_rest in ((is_one, ~is_one, num_zeros), (~is_one, is_one, num_ones)):
        others = np.sort(score[rest])
        below = np.searchsorted(others, score[own], "left")
        not_above = np.searchsorted(others, score[own], "right")
        found[own] = (below + not_above) / (2 * num_rest)
    found[~is_one] = 1 - found[~is_one]
    return found


def one_against_rest(target: Floats, prediction: Floats) -> list[tuple[Floats, Floats]]:
    """Take an AUC apart into those of two classes: (0/1 target, score) for each.

    Classes that do not occur are left out.

    Raises:
        ValueError: If only one class occurs.
    """
    if prediction.ndim == 1:
        return [(target, prediction)]
    present = [k for k in range(prediction.shape[1]) if (target == k).any()]
    if len(present) == 1:
        raise ValueError(f"auc: all {len(target)} labels are the same; it needs a second class")
    return [((target == k).astype(np.float64), prediction[:, k]) for k in present]


def _auc(target: Floats, prediction: Floats) -> float:
    scores = [
        float(placements(is_one, score)[is_one == 1].mean())
        for is_one, score in one_against_rest(target, prediction)
    ]
    return float(np.mean(scores))


def _log_loss(target: Floats, prediction: Floats) -> Floats:
    if prediction.ndim == 1:
        right = np.where(target == 1, prediction, 1 - prediction)
    else:
        right = prediction[np.arange(len(target)), target.astype(np.int64)]
    clipped = np.clip(right, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
    return np.asarray(-np.log(clipped))


def _brier(target: Floats, prediction: Floats) -> Floats:
    if prediction.ndim == 1:
        return np.asarray((prediction - target) ** 2)
    hot = np.arange(prediction.shape[1]) == target[:, None]
    return np.asarray(((prediction - hot) ** 2).sum(axis=1))


def _is_wrong(target: Floats, prediction: Floats) -> Floats:
    guess = prediction.argmax(axis=1) if prediction.ndim > 1 else prediction >= 0.5  # noqa: PLR2004
    return np.asarray(guess != target, np.float64)


_LOSSES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "log_loss": _log_loss,
    "brier": _brier,
    "accuracy": _is_wrong,
    "rmse": lambda target, prediction: (prediction - target) ** 2,
    "mae": lambda target, prediction: np.abs(prediction - target),
}
