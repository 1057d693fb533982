"""The champion against its predecessor, on the inputs that were logged since the promotion."""

from everloop.measure.intervals import Interval, sequential_gain
from everloop.measure.metrics import Rows


def compare_versions(
    target: Rows,
    new_scores: Rows,
    old_scores: Rows,
    metric: str,
    confidence: float,
    groups: Rows | None = None,
) -> Interval:
    """Say how much better the newer version is on the same labelled rows.

    The question is asked again whenever labels come in, so the bounds hold over all looks together:
    a sound champion is undone with probability 1 - confidence in its whole time, not at each look.

    Args:
        target: Class codes or values, shape (N,); the rows since the newer one was promoted.
        new_scores: The newer version's predictions, shape (N,) or (N, K).
        old_scores: The older version's, on the same inputs.
        metric: What the gate judges by.
        confidence: ``retrain.rollback_confidence``.
        groups: Rows that stand together, from `everloop.measure.intervals.time_groups`.

    Returns:
        The gain; a ``high`` under 0 means the newer version is worse.

    Raises:
        ValueError: If the metric cannot be computed, such as an AUC of one class.
    """
    return sequential_gain(
        metric, target, new_scores, old_scores, confidence=confidence, groups=groups
    )
