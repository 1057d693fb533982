"""Row steps as data: what one column goes through before the network.

A project file asks for steps (`StepSpec`); training fits them to rows and the manifest holds the
result (`FittedStep`). Both name a kind from one fixed list, so no Python travels with a model.
"""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from everloop.spec.record import Record, tuples

StepKind = Literal[
    "trim", "lower", "parse", "lookup", "impute", "clip", "scale", "log", "clock", "calendar"
]
CalendarPart = Literal["minute_of_day", "day_of_week", "day_of_month", "month"]


class StepSpec(Record):
    """A step as the project file asks for it; what is left out is fitted to the rows.

    Attributes:
        kind: ``trim`` and ``lower`` change text; ``parse`` reads numbers and times from text;
            ``lookup`` maps categories to codes (0 is for unknown and null); ``impute`` fills nulls;
            ``clip`` bounds; ``scale`` subtracts the mean and divides by the deviation; ``log`` is
            log(1 + max(x, 0)); ``clock`` reads 1530 as 15:30, in minutes; ``calendar`` takes a time
            apart.
        value: For impute: the number to fill in; the median where it is left out.
        low: For clip: lower bound; the 0.1 % quantile where it is left out.
        high: For clip: upper bound; the 99.9 % quantile where it is left out.
        min_count: For lookup: a category seen less often shares the code 0.
        max_values: For lookup: only this many most frequent categories get a code.
        parts: For calendar: the parts to take, in UTC.
    """

    kind: StepKind
    value: float | None = None
    low: float | None = None
    high: float | None = None
    min_count: int = Field(default=5, ge=1)
    max_values: int = Field(default=1000, ge=1, le=1_000_000)
    parts: tuple[CalendarPart, ...] = ("minute_of_day", "day_of_week")


def _from_word(step: object) -> object:
    return {"kind": step} if isinstance(step, str) else tuples(step)


StepEntry = Annotated[StepSpec, BeforeValidator(_from_word)]


class FittedStep(Record):
    """A step with its numbers, as the manifest holds it.

    A number is one number, a calendar makes one for each of its parts; the steps after it have as
    many of each of their own numbers.

    Attributes:
        kind: As in `StepSpec`.
        values: For lookup: the categories, in the order of their codes 1, 2, ...
        fill: For impute.
        low: For clip.
        high: For clip.
        mean: For scale.
        deviation: For scale; never 0.
        parts: For calendar.
    """

    kind: StepKind
    values: tuple[str, ...] = ()
    fill: tuple[float, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()
    parts: tuple[CalendarPart, ...] = ()


class ColumnSteps(Record):
    """One input column of a model and its fitted steps.

    Attributes:
        name: The column, which is also the input tensor's name.
        kind: What a caller sends: ``number`` (FP32, null is NaN), ``category`` (BYTES, null is the
            empty string), ``time`` (INT64 seconds since 1970 in UTC, null is -2**63).
        steps: In order; the replica runs ``trim``, ``lower`` and ``parse``, the graph the rest.
    """

    name: str
    kind: Literal["number", "category", "time"]
    steps: tuple[FittedStep, ...] = ()

    @property
    def is_code(self) -> bool:
        """Whether the column ends as a category code and not as numbers."""
        return any(step.kind == "lookup" for step in self.steps)
