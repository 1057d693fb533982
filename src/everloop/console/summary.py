"""A report in a few numbers: for machines as JSON, for a terminal as a table."""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

from everloop.console.records import ReportData, WeekScore

_HEADINGS = ("month", "rows", "", "AUC frozen", "AUC everloop", "loss frozen", "loss everloop")
Score = Callable[[WeekScore], float | None]


def summarise(data: ReportData) -> dict[str, float | int | None]:
    """Reduce a report to its totals; scores are means over the weeks."""
    return {
        "auc_frozen": _mean(data.weeks, lambda week: week.auc_frozen),
        "auc_everloop": _mean(data.weeks, lambda week: week.auc_everloop),
        "logloss_frozen": _mean(data.weeks, lambda week: week.logloss_frozen),
        "logloss_everloop": _mean(data.weeks, lambda week: week.logloss_everloop),
        "retrains": count(data, "retrain"),
        "promotions": count(data, "promote"),
        "holds": count(data, "hold"),
        "rollbacks": count(data, "roll_back"),
        "requests": data.requests,
        "requests_failed": data.requests_failed,
        "p50_ms": data.p50_ms,
        "p99_ms": data.p99_ms,
        "seconds": data.seconds,
    }


def count(data: ReportData, kind: str) -> int:
    """Count the decisions of one kind."""
    return sum(decision.kind == kind for decision in data.decisions)


def text_table(data: ReportData) -> str:
    """Lay a report out for a terminal: a line for each month, the totals, and what happened.

    A week counts for the month in which it starts.
    """
    months = groupby(data.weeks, key=lambda week: f"{week.start:%Y-%m}")
    body = [_cells(month, tuple(weeks)) for month, weeks in months]
    heading = tuple(cell or f"{data.positive} share" for cell in _HEADINGS)
    rows = [heading, *body, _cells("all", data.weeks)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(heading))]
    rule = "  ".join("-" * width for width in widths)
    lines = [_aligned(row, widths) for row in rows]
    lines = [lines[0], rule, *lines[1:-1], rule, lines[-1]]
    return "\n".join([*lines, "", *_what_happened(data)]) + "\n"


def _cells(name: str, weeks: Sequence[WeekScore]) -> tuple[str, ...]:
    scores = (
        _mean(weeks, lambda week: week.auc_frozen),
        _mean(weeks, lambda week: week.auc_everloop),
        _mean(weeks, lambda week: week.logloss_frozen),
        _mean(weeks, lambda week: week.logloss_everloop),
    )
    num_rows = sum(week.rows for week in weeks)
    num_positive = sum(week.rows * week.label_rate for week in weeks)
    return (
        name,
        f"{num_rows:,}",
        f"{num_positive / num_rows:.1%}" if num_rows else "-",
        *("-" if score is None else f"{score:.4f}" for score in scores),
    )


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = (
        cell.ljust(width) if i == 0 else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join([first, *rest]).rstrip()


def _what_happened(data: ReportData) -> Iterable[str]:
    yield ", ".join(
        plural(count(data, kind), one, many)
        for kind, one, many in (
            ("retrain", "retrain", "retrains"),
            ("recalibrate", "recalibration", "recalibrations"),
            ("promote", "promotion", "promotions"),
            ("hold", "hold", "holds"),
            ("roll_back", "roll-back", "roll-backs"),
        )
    )
    latency = "" if data.p50_ms is None else f", p50 {data.p50_ms:.1f} ms"
    latency += "" if data.p99_ms is None else f", p99 {data.p99_ms:.1f} ms"
    sent = plural(data.requests, "request", "requests")
    yield f"{sent}, {data.requests_failed:,} failed{latency}; {data.seconds:,.0f} s in all"


def plural(number: int, one: str, many: str) -> str:
    """Say a number with its noun.

    >>> plural(1, "hold", "holds"), plural(1200, "row", "rows")
    ('1 hold', '1,200 rows')
    """
    return f"{number:,} {one if number == 1 else many}"


def _mean(weeks: Sequence[WeekScore], score: Score) -> float | None:
    """Average a score over weeks, each counting once; None if no week has one."""
    found = [value for week in weeks if (value := score(week)) is not None]
    return round(sum(found) / len(found), 6) if found else None
