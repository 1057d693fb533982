"""Student's quantile, without SciPy: a replica's host and a laptop need not install it for this."""

import math
from statistics import NormalDist

_NORMAL = NormalDist()


def student_quantile(share: float, freedom: int) -> float:
    """Return Student's quantile of a share over 0.5, right to some 2e-4 of itself.

    Args:
        share: Of the distribution that lies under the quantile.
        freedom: Degrees of freedom, at least 1.

    Source:
        Hill, Algorithm 396, Communications of the ACM 13 (1970); the letters are its own.

    >>> round(student_quantile(0.975, 6), 3)
    2.447
    """
    two_sided = 2 * (1 - share)
    if freedom == 1:
        return 1 / math.tan(two_sided * math.pi / 2)
    if freedom == 2:  # noqa: PLR2004 - known in closed form
        return math.sqrt(2 / (two_sided * (2 - two_sided)) - 2)
    a = 1 / (freedom - 0.5)
    b = (48 / a) / a
    c = ((20700 * a / b - 98) * a - 16) * a + 96.36
    d = ((94.5 / (b + c) - 3) / b + 1) * math.sqrt(a * math.pi / 2) * freedom
    y = (d * two_sided) ** (2 / freedom)
    if y > a + 0.05:
        x = -_NORMAL.inv_cdf(two_sided / 2)
        y = x * x
        c += 0.3 * (freedom - 4.5) * (x + 0.6) if freedom < 5 else 0.0  # noqa: PLR2004
        c = (((0.05 * d * x - 5) * x - 7) * x - 2) * x + b + c
        y = (((((0.4 * y + 6.3) * y + 36) * y + 94.5) / c - y - 3) / b + 1) * x
        y = math.expm1(a * y * y)
    else:
        y = (
            (
                1 / (((freedom + 6) / (freedom * y) - 0.089 * d - 0.822) * (freedom + 2) * 3)
                + 0.5 / (freedom + 4)
            )
            * y
            - 1
        ) * (freedom + 1) / (freedom + 2) + 1 / y
    return math.sqrt(freedom * y)
