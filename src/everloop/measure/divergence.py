"""How far two histograms on the same bins are apart.

Every function takes row counts of shape (num_bins,), the reference's and the current ones.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Shares = npt.NDArray[np.float64]


def psi(reference: Sequence[int], current: Sequence[int], *, floor: float = 1e-4) -> float:
    """Compute the population stability index.

    It is biased upward: two samples of one distribution read about `psi_bias`, not 0.

    Args:
        reference: Row counts of the window the champion learned from.
        current: Row counts of the window now being served.
        floor: Smallest share given to a bin, so that an empty one costs a finite amount.

    Returns:
        The index in nats; 0 for equal shares, no upper bound.

    Raises:
        ValueError: If the lengths differ or a window has no rows.

    Source:
        Siddiqi, Credit Risk Scorecards (2006).

    >>> round(psi([50, 50], [90, 10]), 3)
    0.879
    """
    a, b = (np.maximum(shares, floor) for shares in _shares(reference, current))
    return float(((b - a) * np.log(b / a)).sum())


def psi_bias(reference: Sequence[int], current: Sequence[int]) -> float:
    """Say what `psi` reads on average where nothing has changed: (bins - 1)(1/n + 1/m).

    Bins that are empty in both count for nothing.

    Raises:
        ValueError: As `psi`.

    Source:
        The index is twice a chi-square of bins - 1 degrees over n and m rows to first order;
        Yurdakul, Statistical properties of population stability index (2018).

    >>> psi_bias([50, 50, 0], [100, 100, 0])
    0.015
    """
    _shares(reference, current)
    occupied = sum(1 for a, b in zip(reference, current, strict=True) if a or b)
    return (occupied - 1) * (1 / sum(reference) + 1 / sum(current))


def psi_excess(reference: Sequence[int], current: Sequence[int]) -> float:
    """Compute `psi` less what chance alone adds to it; never under 0.

    An empty bin is given half a row of the smaller window here: with a smaller share, empty bins of
    rare values would add far more than the bias that is taken off.

    Raises:
        ValueError: As `psi`.

    >>> round(psi_excess([500, 500], [900, 100]), 3)
    0.877
    >>> psi_excess([50, 50], [55, 45])
    0.0
    """
    _shares(reference, current)
    half_row = 0.5 / min(sum(reference), sum(current))
    raw = psi(reference, current, floor=min(half_row, 0.5))
    return max(0.0, raw - psi_bias(reference, current))


def js(reference: Sequence[int], current: Sequence[int]) -> float:
    """Compute the Jensen-Shannon divergence in bits, 0 for equal shares to 1 for no overlap.

    Raises:
        ValueError: As `psi`.

    Source:
        Lin, IEEE Transactions on Information Theory 37 (1991).

    >>> js([10, 0], [0, 10])
    1.0
    """
    a, b = _shares(reference, current)
    middle = (a + b) / 2
    return max(0.0, float((_relative_entropy(a, middle) + _relative_entropy(b, middle)) / 2))


def ks(reference: Sequence[int], current: Sequence[int]) -> float:
    """Compute the largest gap of the cumulated shares over bins in order, 0 to 1.

    It is the Kolmogorov-Smirnov distance seen at the bins' edges: never over the exact one, and
    short of it by less than the largest bin's share.

    Raises:
        ValueError: As `psi`.

    >>> ks([5, 5, 0], [0, 5, 5])
    0.5
    """
    a, b = _shares(reference, current)
    return float(np.abs(np.cumsum(a - b)).max())


def _shares(reference: Sequence[int], current: Sequence[int]) -> tuple[Shares, Shares]:
    a, b = np.asarray(reference, np.float64), np.asarray(current, np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(
            f"found {len(reference)} and {len(current)} bins, expected as many in both"
        )
    if a.sum() == 0 or b.sum() == 0:
        raise ValueError("a window has no rows; expected at least one in each")
    return a / a.sum(), b / b.sum()


def _relative_entropy(a: Shares, b: Shares) -> float:
    some = a > 0
    return float((a[some] * np.log2(a[some] / b[some])).sum())
