"""Times as callers send them: ISO 8601 text or seconds since 1970, both in UTC."""

import math
from datetime import UTC, datetime

from everloop.rows.columns import FIRST_SECOND, LAST_SECOND, NULL_TIME

_MICRO = 1_000_000


def to_microseconds(value: float | str | None) -> int | None:
    """Read a time.

    Args:
        value: Seconds since 1970, or ISO 8601 text, taken as UTC where it names no zone.

    Returns:
        Microseconds since 1970 in UTC; None for None, for blank text and for -2**63.

    Raises:
        ValueError: If it is no time between the years 1 and 9999.

    >>> to_microseconds("2013-06-01T12:00:00Z")
    1370088000000000
    """
    if value is None:
        return None
    if isinstance(value, str):
        return _from_text(value)
    if value == NULL_TIME:
        return None
    if not math.isfinite(value) or not FIRST_SECOND <= value <= LAST_SECOND:
        raise ValueError("expected seconds since 1970 in UTC")
    return round(value * _MICRO)


def _from_text(text: str) -> int | None:
    stripped = text.strip()
    if not stripped:
        return None
    try:
        time = datetime.fromisoformat(stripped)
    except ValueError as error:
        raise ValueError(f"found {stripped[:64]!r}, expected a time as in ISO 8601") from error
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    since = time - datetime(1970, 1, 1, tzinfo=UTC)
    seconds = since.days * 86_400 + since.seconds
    if not FIRST_SECOND <= seconds <= LAST_SECOND:
        raise ValueError(f"found {stripped[:64]!r}, expected a time of the years 1 to 9999 in UTC")
    return seconds * _MICRO + since.microseconds
