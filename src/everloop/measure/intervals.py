"""Intervals for the gain of one model over another on the same rows.

Rows of one day are alike: a storm makes all of them late. So gains are drawn by blocks of rows
(`groups`), and what is drawn is each row's influence on the metric: for a mean its own loss, for an
AUC its placement among the rows of the other class. That makes a bootstrap of any metric a sum over
blocks, and no metric is computed a thousand times.
"""

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from everloop.measure.metrics import (
    Floats,
    Rows,
    checked,
    is_higher_better,
    metric,
    one_against_rest,
    placements,
    row_losses,
)
from everloop.measure.student import student_quantile
from everloop.spec.record import Record

NUM_DRAWS = 2000
_MAX_GROUPS = 512
_MIN_GROUPS = 10
_NORMAL = NormalDist()


class Interval(Record):
    """An estimate and the bounds of its interval; for a gain, positive is better."""

    estimate: float
    low: float
    high: float


def paired_gain(  # noqa: PLR0913 - two models, one metric, and how sure to be
    name: str,
    target: Rows,
    challenger: Rows,
    champion: Rows,
    *,
    confidence: float,
    seed: int,
    groups: Rows | None = None,
) -> Interval:
    """Say how much better the challenger is than the champion on the same rows.

    Args:
        name: The metric; see `everloop.measure.metrics.metric`.
        target: Shape (N,).
        challenger: Its predictions, shape (N,) or (N, K).
        champion: Its predictions, alike.
        confidence: Of the interval, such as 0.95.
        seed: Of the draws; the same rows and seed give the same interval.
        groups: Shape (N,): rows with the same number are drawn together; see `time_groups`. Each
            row on its own where it is left out.

    Returns:
        The gain in the metric's unit, positive where the challenger is better.

    Raises:
        ValueError: As `metric`, or if there is one row only, or the confidence is not between 0
            and 1.

    Source:
        Paired percentile bootstrap over clusters, widened for few clusters as in Hesterberg, The
        American Statistician 69 (2015); AUC: DeLong, DeLong and Clarke-Pearson (1988).
    """
    gain, blocks = _gain_and_blocks(name, target, challenger, champion, groups, seed)
    _check_confidence(confidence)
    rng = np.random.default_rng(seed)
    drawn = blocks[rng.integers(0, len(blocks), (NUM_DRAWS, len(blocks)))].sum(axis=1)
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    wider = _few_groups_factor(len(blocks), confidence)
    return Interval(
        estimate=gain,
        low=gain + min(0.0, wider * float(low)),
        high=gain + max(0.0, wider * float(high)),
    )


def sequential_gain(
    name: str,
    target: Rows,
    challenger: Rows,
    champion: Rows,
    *,
    confidence: float,
    groups: Rows | None = None,
) -> Interval:
    """Say the same with bounds that hold however often one looks while rows come in.

    An interval of `paired_gain` that is looked at every hour will sooner or later leave out the
    truth; this one does so with probability 1 - confidence over all looks together, at the price of
    being about half as wide again. It holds for rows added to one start, such as a promotion.

    Args:
        name: The metric.
        target: Shape (N,).
        challenger: Its predictions.
        champion: Its predictions.
        confidence: Over all looks together.
        groups: As in `paired_gain`.

    Raises:
        ValueError: As `paired_gain`.

    Source:
        The asymptotic confidence sequence with a normal mixture of Waudby-Smith, Arbour, Sinha,
        Kennedy and Ramdas, Time-uniform central limit theory and asymptotic confidence sequences,
        Annals of Statistics 52 (2024), theorem 2.2 with the tuning of its appendix B.2.
    """
    gain, blocks = _gain_and_blocks(name, target, challenger, champion, groups, seed=0)
    _check_confidence(confidence)
    num = len(blocks)
    # Influences sum to the gain's error, so the spread of their sum is sqrt(num) times their own.
    spread = float(np.sqrt(np.square(blocks).sum())) * _few_groups_factor(num, confidence)
    doubt = -2 * math.log(1 - confidence)
    tuned = doubt + math.log(doubt + 1)  # num x rho squared, sharpest at the rows there are now
    width = spread * math.sqrt(
        2 * (tuned + 1) / tuned * math.log(math.sqrt(tuned + 1) / (1 - confidence))
    )
    return Interval(estimate=gain, low=gain - width, high=gain + width)


def score_interval(
    name: str, target: Rows, prediction: Rows, *, confidence: float, groups: Rows | None = None
) -> Interval:
    """Say a metric's value and its normal interval over blocks of rows.

    Raises:
        ValueError: As `paired_gain`.
    """
    _check_confidence(confidence)
    blocks = _block_sums(_influences(name, target, prediction), groups, seed=0)
    score = metric(name, target, prediction)
    quantile = _NORMAL.inv_cdf((1 + confidence) / 2) * _few_groups_factor(len(blocks), confidence)
    width = quantile * float(np.sqrt(np.square(blocks).sum()))
    return Interval(estimate=score, low=score - width, high=score + width)


def time_groups(times_s: npt.NDArray[np.int64]) -> npt.NDArray[np.int64] | None:
    """Group rows by UTC day, or by hour where there are fewer than ten days.

    Args:
        times_s: Seconds since 1970, shape (N,).

    Returns:
        Shape (N,), or None where there are fewer than ten hours: then rows stand alone.
    """
    for length_s in (86_400, 3_600):
        groups = times_s // length_s
        if len(np.unique(groups)) >= _MIN_GROUPS:
            return groups
    return None


def _gain_and_blocks(
    name: str, target: Rows, challenger: Rows, champion: Rows, groups: Rows | None, seed: int
) -> tuple[float, Floats]:
    sign = 1 if is_higher_better(name) else -1
    gain = sign * (metric(name, target, challenger) - metric(name, target, champion))
    influences = sign * (
        _influences(name, target, challenger) - _influences(name, target, champion)
    )
    return gain, _block_sums(influences, groups, seed)


def _influences(name: str, target: Rows, prediction: Rows) -> Floats:
    """Say what each row adds to the metric's error, shape (N,); they sum to 0."""
    if name == "auc":
        return _auc_influences(*checked(name, target, prediction))
    losses = row_losses(name, target, prediction)
    centred = (losses - losses.mean()) / len(losses)
    if name == "rmse":  # by the delta method; all rows right means no doubt
        return np.asarray(centred / (2 * max(math.sqrt(losses.mean()), 1e-300)))
    return np.asarray(-centred if name == "accuracy" else centred)


def _auc_influences(target: Floats, prediction: Floats) -> Floats:
    parts = one_against_rest(target, prediction)
    total = np.zeros(len(target))
    for is_one, score in parts:
        placed = placements(is_one, score)
        auc = placed[is_one == 1].mean()
        counts = np.where(is_one == 1, is_one.sum(), len(is_one) - is_one.sum())
        total += (placed - auc) / counts
    return np.asarray(total / len(parts))


def _block_sums(influences: Floats, groups: Rows | None, seed: int) -> Floats:
    if len(influences) < 2:  # noqa: PLR2004 - a row and another
        raise ValueError("one row does not tell how sure a score is; expected two at least")
    if groups is None or len(np.unique(groups)) == 1:
        # Rows that stand alone are dealt out at random: sums of a few say the same about the
        # spread, and five hundred are quicker to draw from than a million.
        num = min(len(influences), _MAX_GROUPS)
        at = np.random.default_rng(seed).permutation(len(influences)) % num
    else:
        numbered = np.unique(groups, return_inverse=True)[1].reshape(-1)
        num_groups = int(numbered.max()) + 1
        num = min(num_groups, _MAX_GROUPS)
        at = numbered * num // num_groups  # neighbours join: blocks may be longer, never cut
    return np.asarray(np.bincount(at, influences, minlength=num), np.float64)


def _few_groups_factor(num_groups: int, confidence: float) -> float:
    """Widen what a normal quantile or plain draws give by what few blocks cannot know."""
    if num_groups < 2:  # noqa: PLR2004 - one block has no spread
        return 1.0
    right = (1 + confidence) / 2
    wider = student_quantile(right, num_groups - 1) / _NORMAL.inv_cdf(right)
    return wider * math.sqrt(num_groups / (num_groups - 1))


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: found {confidence}, expected a share between 0 and 1")
