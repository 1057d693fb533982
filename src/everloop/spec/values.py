"""Kinds of values that several sections of a project file use: names, shares, expressions."""

import re
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PlainSerializer, PlainValidator, WithJsonSchema

from everloop.spec.durations import format_duration, parse_duration

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(
            "expected a name of lower-case letters, digits, '.', '_' and '-', 64 at most, "
            "that begins with a letter or digit"
        )
    return name


Name = Annotated[
    str, AfterValidator(_check_name), WithJsonSchema({"type": "string", "pattern": _NAME.pattern})
]
Column = Annotated[str, Field(min_length=1, max_length=255)]
Ratio = Annotated[float, Field(ge=0, le=1)]
Metric = Literal["auc", "log_loss", "brier", "accuracy", "rmse", "mae"]
Expression = Annotated[str, Field(min_length=1, max_length=10_000)]
"""A SQL expression over columns, such as ``arr_delay > 30``, as Polars reads it."""


def _parse_part(part: object) -> float | timedelta:
    if isinstance(part, float) and 0 < part < 1:
        return part
    if isinstance(part, str | timedelta):
        return parse_duration(part)
    raise ValueError("expected a share between 0 and 1, or a length of time such as '7d'")


Part = Annotated[
    float | timedelta,
    PlainValidator(_parse_part),
    PlainSerializer(lambda p: format_duration(p) if isinstance(p, timedelta) else p),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
                {"type": "string", "examples": ["7d"]},
            ]
        }
    ),
]
