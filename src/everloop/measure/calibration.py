"""Slope and bias on a model's raw output, so that a 0.2 means one time in five."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from everloop.measure.metrics import Floats, Rows
from everloop.spec.manifest import Calibration, Task

_NEUTRAL = np.array([1.0, 0.0])
_MIN_SLOPE, _MAX_SLOPE = 0.05, 20.0
# A pull of the slope that is felt with a hundred rows, not with ten thousand.
_PRIOR_ROWS = 10.0
_MAX_STEPS = 50
_MAX_HALVINGS = 30


@dataclass(frozen=True)
class Prior:
    """How strongly slope and bias are pulled towards 1 and 0.

    Attributes:
        slope_rows: The pull of the slope weighs as much as this many rows of spread 1.
        bias_rows: The pull of the bias, likewise.
    """

    slope_rows: float = _PRIOR_ROWS
    bias_rows: float = 0.0


def fit_calibration(task: Task, raw: Rows, target: Rows, prior: Prior = Prior()) -> Calibration:
    """Fit slope and bias to labelled rows.

    Binary: Platt's sigmoid on the logit. Multiclass: a slope alone (temperature). Regression:
    least squares. The slope stays positive and bounded, and is pulled towards 1 where rows are few,
    so that no ranking is turned round. With no rows, or rows of one class, nothing changes.

    Args:
        task: The manifest's.
        raw: Logits (N,), logits (N, K) or values (N,), not yet calibrated.
        target: Class codes or values, shape (N,).
        prior: A strong one suits rows that are few in kind though many in number, such as those of
            a few days.

    Raises:
        ValueError: If the lengths differ or a number is not finite.

    Source:
        Platt, Probabilistic outputs for support vector machines (1999), with the Newton method of
        Lin, Lin and Weng, Machine Learning 68 (2007); Guo et al., On calibration of modern neural
        networks (2017).
    """
    raw = np.asarray(raw, np.float64)
    target = np.asarray(target, np.float64)
    _check(raw, target)
    if len(target) == 0 or (task != "regression" and len(np.unique(target)) == 1):
        return Calibration()
    if task == "binary":
        return _fit_sigmoid(raw, target, prior)
    if task == "multiclass":
        return Calibration(slope=_fit_temperature(raw, target.astype(np.int64), prior))
    return _fit_line(raw, target, prior)


def to_prediction(task: Task, raw: Rows, calibration: Calibration) -> Floats:
    """Turn raw outputs into what a client sees.

    Returns:
        Probability (N,), probabilities (N, K) or values (N,), in float64.
    """
    scaled = np.asarray(raw, np.float64) * calibration.slope
    if task == "binary":
        return _sigmoid(scaled + calibration.bias)
    if task == "multiclass":
        return _softmax(scaled)
    return scaled + calibration.bias


def _check(raw: Floats, target: Floats) -> None:
    if len(raw) != len(target):
        raise ValueError(f"calibration: found {len(raw)} outputs and {len(target)} labels")
    if not (np.isfinite(raw).all() and np.isfinite(target).all()):
        raise ValueError("calibration: an output or a label is no finite number")


def _fit_sigmoid(raw: Floats, target: Floats, prior: Prior) -> Calibration:
    # Platt's targets are a little off 0 and 1, which keeps the bias finite when the classes are
    # far apart.
    num_ones = target.sum()
    num_zeros = len(target) - num_ones
    smooth = np.where(target == 1, (num_ones + 1) / (num_ones + 2), 1 / (num_zeros + 2))
    start = np.array([1.0, 0.0])
    pull = np.array([prior.slope_rows, prior.bias_rows]) / 4
    slope, bias = _newton(raw, smooth, start, np.array([True, True]), pull)
    if not _MIN_SLOPE <= slope <= _MAX_SLOPE:
        start[0] = np.clip(slope, _MIN_SLOPE, _MAX_SLOPE)
        slope, bias = _newton(raw, smooth, start, np.array([False, True]), pull)
    return Calibration(slope=float(slope), bias=float(bias))


def _newton(
    raw: Floats, target: Floats, start: Floats, is_free: npt.NDArray[np.bool_], pull: Floats
) -> tuple[float, float]:
    columns = np.stack([raw, np.ones_like(raw)], axis=1)
    at, loss = start, _penalised(columns, target, start, pull)
    for _ in range(_MAX_STEPS):
        gradient, hessian = _derivatives(columns, target, at, pull)
        step = np.zeros(2)
        step[is_free] = np.linalg.solve(hessian[np.ix_(is_free, is_free)], gradient[is_free])
        at, before, loss = _halve_until_better(columns, target, at, step, loss, pull)
        if before - loss <= 1e-12 * (1 + abs(before)):
            break
    return float(at[0]), float(at[1])


def _halve_until_better(
    columns: Floats, target: Floats, at: Floats, step: Floats, loss: float, pull: Floats
) -> tuple[Floats, float, float]:
    for _ in range(_MAX_HALVINGS):
        new = at - step
        new_loss = _penalised(columns, target, new, pull)
        if new_loss < loss:
            return new, loss, new_loss
        step = step / 2
    return at, loss, loss


def _penalised(columns: Floats, target: Floats, at: Floats, pull: Floats) -> float:
    logit = columns @ at
    loss = np.logaddexp(0, logit) - target * logit
    return float(loss.sum() + (pull * (at - _NEUTRAL) ** 2).sum() / 2)


def _derivatives(
    columns: Floats, target: Floats, at: Floats, pull: Floats
) -> tuple[Floats, Floats]:
    share = _sigmoid(columns @ at)
    gradient = columns.T @ (share - target) + pull * (at - _NEUTRAL)
    hessian = (columns * (share * (1 - share))[:, None]).T @ columns
    # An all but flat spot must not throw the step to infinity; the search above shortens it anyway.
    hessian += np.diag(pull + 1e-9)
    return gradient, hessian


def _fit_temperature(raw: Floats, target: npt.NDArray[np.int64], prior: Prior) -> float:
    # The loss is convex in the slope, and its slope in the log of it changes sign once: halving
    # the bracket needs no safeguards.
    low, high = np.log(_MIN_SLOPE), np.log(_MAX_SLOPE)
    right = raw[np.arange(len(target)), target]
    for _ in range(_MAX_STEPS):
        middle = (low + high) / 2
        slope = np.exp(middle)
        rise = ((_softmax(raw * slope) * raw).sum(axis=1) - right).sum()
        rise += prior.slope_rows / 4 * (slope - 1)
        low, high = (low, middle) if rise > 0 else (middle, high)
    return float(np.exp((low + high) / 2))


def _fit_line(raw: Floats, target: Floats, prior: Prior) -> Calibration:
    centred = raw - raw.mean()
    variance = float(np.mean(centred**2))
    # Rounding leaves a constant output a spread of some 1e-16 of its size: no line goes through it.
    if variance <= (1e-12 * (1 + float(np.abs(raw).max()))) ** 2:
        return Calibration(bias=float(target.mean() - raw.mean()))
    best = float(np.mean(centred * (target - target.mean()))) / variance
    slope = (len(raw) * best + prior.slope_rows) / (len(raw) + prior.slope_rows)
    slope = float(np.clip(slope, _MIN_SLOPE, _MAX_SLOPE))
    bias = float(target.mean() - slope * raw.mean()) * len(raw) / (len(raw) + prior.bias_rows)
    return Calibration(slope=slope, bias=bias)


def _sigmoid(logit: Floats) -> Floats:
    return np.asarray(np.exp(-np.logaddexp(0, -logit)))


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
