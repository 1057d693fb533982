"""Fills the page templates; every value is escaped unless it is a drawing of our own."""

from datetime import datetime
from functools import cache

import jinja2

_MANY_MS = 10
"""From here on the hundredths of a millisecond say nothing."""


def render(template: str, **values: object) -> str:
    """Fill one of the templates beside this module.

    Args:
        template: Its file name.
        values: What it asks for; a missing one is an error.
    """
    return _environment().get_template(template).render(values)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("everloop.console"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "day": day,
        "moment": moment,
        "score": score,
        "milliseconds": milliseconds,
        "words": words,
    }
    return environment


def moment(time: str | None) -> str:
    """Shorten an ISO 8601 time to the minute; text that is not a time stays as it is.

    >>> moment("2013-03-08T04:05:09.000001+00:00")
    '2013-03-08 04:05'
    """
    if not time:
        return ""
    try:
        return f"{datetime.fromisoformat(time):%Y-%m-%d %H:%M}"
    except ValueError:
        return time


def day(time: str | None) -> str:
    """Shorten an ISO 8601 time to its day.

    >>> day("2013-03-08T04:05:09+00:00")
    '2013-03-08'
    """
    return moment(time).split(" ")[0]


def score(value: float | None) -> str:
    """Show a metric with four places.

    >>> score(0.73691)
    '0.7369'
    """
    return "\N{EN DASH}" if value is None else f"{value:.4f}"


def milliseconds(value: float | None) -> str:
    """Show a latency.

    >>> milliseconds(1.234), milliseconds(123.4)
    ('1.23 ms', '123 ms')
    """
    if value is None:
        return "\N{EN DASH}"
    return f"{value:.2f} ms" if value < _MANY_MS else f"{value:,.0f} ms"


def words(kind: str) -> str:
    """Turn a decision's kind or a metric's name into what a page says.

    >>> words("roll_back"), words("set_aside")
    ('roll-back', 'set aside')
    """
    return {"roll_back": "roll-back", "auc": "AUC"}.get(kind, kind.replace("_", " "))
