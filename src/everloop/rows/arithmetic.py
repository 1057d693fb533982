"""Number steps and calendars on arrays, in the same float32 operations as the graph's.

Letters of shapes: N rows, P numbers that a column has become.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from everloop.rows.columns import NULL_TIME
from everloop.spec.steps import CalendarPart, FittedStep

Numbers = npt.NDArray[np.float32]
Seconds = npt.NDArray[np.int64]

DAY_S: Final = 86_400
# Days from 1 March of the year 0 to 1 January 1970, and the days of 400 years: with March as the
# first month the leap day is the last of its year, and a date comes out of divisions alone.
DAYS_BEFORE_1970: Final = 719_468
DAYS_OF_400_YEARS: Final = 146_097


def apply_step(step: FittedStep, x_NP: Numbers) -> Numbers:  # noqa: N803 - P is a shape's letter
    """Apply one number step; NaN stands for null and passes every step but impute.

    Args:
        step: Impute, clip, scale, log or clock.
        x_NP: Shape (N, P).

    Returns:
        Shape (N, P), float32.
    """
    return _STEPS[step.kind](step, x_NP)


def calendar(seconds_N: Seconds, parts: Sequence[CalendarPart]) -> Numbers:  # noqa: N803
    """Take times apart in UTC.

    Args:
        seconds_N: Seconds since 1970, shape (N,); null is -2**63.
        parts: ``minute_of_day`` 0 to 1439, ``day_of_week`` 0 (Monday) to 6, ``day_of_month`` 1 to
            31, ``month`` 1 to 12.

    Returns:
        Shape (N, P), float32, NaN for null.

    Source:
        Howard Hinnant, chrono-compatible low-level date algorithms (2013), for day and month.

    >>> calendar(np.array([0]), ["day_of_week", "month"]).tolist()
    [[3.0, 1.0]]
    """
    null_N = seconds_N == NULL_TIME  # noqa: N806
    safe_N = np.where(null_N, 0, seconds_N)  # noqa: N806
    parts_NP = np.stack([_PARTS[part](safe_N) for part in parts], axis=1)  # noqa: N806
    return np.where(null_N[:, None], np.float32(np.nan), parts_NP.astype(np.float32))


def _float32(values: Sequence[float]) -> Numbers:
    return np.asarray(values, np.float32)


def _log(_step: FittedStep, x: Numbers) -> Numbers:
    # In float64 on both sides: two libraries' float32 logarithms may differ in the last bit, which
    # is enough to fall on the other side of a tree's threshold.
    wide = np.maximum(x.astype(np.float64), 0.0)
    return np.log(wide + 1.0).astype(np.float32)


def _clock(_step: FittedStep, x: Numbers) -> Numbers:
    hours = np.floor(x / np.float32(100))
    return np.asarray(hours * np.float32(60) + (x - hours * np.float32(100)), np.float32)


_STEPS: Mapping[str, Callable[[FittedStep, Numbers], Numbers]] = {
    "impute": lambda step, x: np.where(np.isnan(x), _float32(step.fill), x),
    "clip": lambda step, x: np.minimum(np.maximum(x, _float32(step.low)), _float32(step.high)),
    "scale": lambda step, x: (x - _float32(step.mean)) / _float32(step.deviation),
    "log": _log,
    "clock": _clock,
}


def _day_of_year(seconds: Seconds) -> Seconds:
    # Counted from 1 March, 0 to 365.
    era = (seconds // DAY_S + DAYS_BEFORE_1970) % DAYS_OF_400_YEARS
    year = (era - era // 1460 + era // 36_524 - era // 146_096) // 365
    return np.asarray(era - (365 * year + year // 4 - year // 100))


def _month_from_march(seconds: Seconds) -> Seconds:
    return (5 * _day_of_year(seconds) + 2) // 153


_PARTS: Mapping[CalendarPart, Callable[[Seconds], Seconds]] = {
    "minute_of_day": lambda s: s % DAY_S // 60,
    "day_of_week": lambda s: (s // DAY_S + 3) % 7,
    "day_of_month": lambda s: _day_of_year(s) - (153 * _month_from_march(s) + 2) // 5 + 1,
    "month": lambda s: (_month_from_march(s) + 2) % 12 + 1,
}
