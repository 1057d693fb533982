"""Lengths of time as people write them: ``90s``, ``15m``, ``1h``, ``7d``, ``2w``."""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PATTERN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)\s*")
_MAX_S = 100 * 366 * 86400.0


def parse_duration(text: object) -> timedelta:
    """Read a length of time.

    Raises:
        ValueError: If the text is no number with a unit, or is over a hundred years.

    >>> parse_duration("90s").total_seconds()
    90.0
    """
    if isinstance(text, timedelta):
        return text
    match = _PATTERN.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(
            "expected a number and a unit of ms, s, m, h, d or w, such as '1h' or '7d'"
        )
    seconds = float(match[1]) * _UNITS[match[2]]
    if seconds > _MAX_S:
        raise ValueError("expected at most a hundred years")
    return timedelta(seconds=seconds)


def format_duration(length: timedelta) -> str:
    """Write a length of time in the largest unit that holds it whole.

    >>> format_duration(timedelta(hours=36))
    '36h'
    """
    seconds = length.total_seconds()
    for unit in ("w", "d", "h", "m", "s"):
        if seconds % _UNITS[unit] == 0:
            return f"{int(seconds / _UNITS[unit])}{unit}"
    return f"{round(seconds * 1000)}ms"


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^\s*\d+(\.\d+)?\s*(ms|s|m|h|d|w)\s*$",
            "examples": ["1h", "7d"],
        }
    ),
]
