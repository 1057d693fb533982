"""A time taken apart by ONNX nodes; the same arithmetic as `rows.arithmetic.calendar`.

ONNX divides integers towards zero and takes remainders with the divisor's sign, so that remainders
come first and only numbers of at least 0 are divided.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from onnx import TensorProto

from everloop.rows.arithmetic import DAY_S, DAYS_BEFORE_1970, DAYS_OF_400_YEARS
from everloop.rows.columns import NULL_TIME
from everloop.rows.nodes import Nodes
from everloop.spec.steps import CalendarPart


def calendar_nodes(nodes: Nodes, name: str, parts: Sequence[CalendarPart]) -> str:
    """Add the nodes that turn int64 seconds (N,) into float32 parts (N, P), NaN for null."""
    time = _Time(nodes, name)
    column = nodes.constant(np.array([-1, 1]))
    whole = [nodes.add("Reshape", [_PARTS[part](time), column]) for part in parts]
    joined = nodes.add("Concat", whole, axis=1) if len(whole) > 1 else whole[0]
    numbers = nodes.add("Cast", [joined], to=TensorProto.FLOAT)
    is_null = nodes.add("Equal", [name, nodes.constant(np.array(NULL_TIME))])
    null = nodes.constant(np.array(np.nan, np.float32))
    return nodes.add("Where", [nodes.add("Reshape", [is_null, column]), null, numbers])


class _Time:
    """One column's integers on the way to its parts; what two parts share is added once."""

    def __init__(self, nodes: Nodes, seconds: str) -> None:
        self._nodes = nodes
        self._seconds = seconds
        self._done: dict[str, str] = {}

    def second_of_day(self) -> str:
        return self._once("second_of_day", lambda: self.mod(self._seconds, DAY_S))

    def day(self) -> str:
        return self._once(
            "day", lambda: self.div(self.sub(self._seconds, self.second_of_day()), DAY_S)
        )

    def day_of_year(self) -> str:
        return self._once("day_of_year", self._day_of_year)

    def month_from_march(self) -> str:
        return self._once(
            "month", lambda: self.div(self.add(self.mul(self.day_of_year(), 5), 2), 153)
        )

    def _day_of_year(self) -> str:
        era = self.mod(self.add(self.day(), DAYS_BEFORE_1970), DAYS_OF_400_YEARS)
        fixed = self.add(self.sub(era, self.div(era, 1460)), self.div(era, 36_524))
        year = self.div(self.sub(fixed, self.div(era, 146_096)), 365)
        before = self.add(self.mul(year, 365), self.div(year, 4))
        return self.sub(era, self.sub(before, self.div(year, 100)))

    def _once(self, name: str, make: Callable[[], str]) -> str:
        if name not in self._done:
            self._done[name] = make()
        return self._done[name]

    def add(self, left: str, right: int | str) -> str:
        return self._integers("Add", left, right)

    def sub(self, left: str, right: int | str) -> str:
        return self._integers("Sub", left, right)

    def mul(self, left: str, right: int) -> str:
        return self._integers("Mul", left, right)

    def div(self, left: str, right: int) -> str:
        return self._integers("Div", left, right)

    def mod(self, left: str, right: int) -> str:
        return self._integers("Mod", left, right)

    def _integers(self, operator: str, left: str, right: int | str) -> str:
        if isinstance(right, int):
            right = self._nodes.constant(np.array(right))
        return self._nodes.add(operator, [left, right])


_PARTS: Mapping[CalendarPart, Callable[[_Time], str]] = {
    "minute_of_day": lambda t: t.div(t.second_of_day(), 60),
    "day_of_week": lambda t: t.mod(t.add(t.day(), 3), 7),
    "day_of_month": lambda t: t.add(
        t.sub(t.day_of_year(), t.div(t.add(t.mul(t.month_from_march(), 153), 2), 5)), 1
    ),
    "month": lambda t: t.add(t.mod(t.add(t.month_from_march(), 2), 12), 1),
}
