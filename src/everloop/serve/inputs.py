"""Checks a request's values against what the model takes, before anything is queued.

Only kinds and shapes are looked at here, column by column at C speed; what a value means (text to
number, text to time) is `everloop.rows.replica`'s to say.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Literal

from everloop.serve.http.messages import Refused
from everloop.serve.times import to_microseconds
from everloop.spec.manifest import Manifest

Value = float | int | str | bool | None
Kind = Literal["number", "category", "time"]

Types = frozenset[type[object]]

_NONE = type(None)
_SCALARS: Types = frozenset({float, int, bool, str, _NONE})
_WHOLE = frozenset({"BOOL"} | {f"{u}INT{n}" for u in ("", "U") for n in (8, 16, 32, 64)})
_NUMERIC = _WHOLE | {"FP16", "FP32", "FP64"}
_EXPECTED: dict[Kind, str] = {"number": "FP32", "category": "BYTES", "time": "INT64"}
_TAKEN: dict[Kind, frozenset[str]] = {
    "number": _NUMERIC | {"BYTES"},
    "category": _WHOLE | {"BYTES"},
    "time": _NUMERIC | {"BYTES"},
}


class Rows:
    """The rows of one request, column by column.

    Attributes:
        num_rows: At least 1.
        columns: The model's inputs by name.
        logged: Columns that are logged and not fed to the model; times are in microseconds.
    """

    __slots__ = ("columns", "logged", "num_rows")

    def __init__(
        self, num_rows: int, columns: dict[str, list[Value]], logged: dict[str, list[Value]]
    ) -> None:
        self.num_rows = num_rows
        self.columns = columns
        self.logged = logged


class InputForm:
    """What one model takes, and how a request fills it in."""

    def __init__(self, manifest: Manifest, *, max_rows: int) -> None:
        self.kinds: dict[str, Kind] = {c.name: c.kind for c in manifest.columns}
        self.by_kind: dict[Kind, list[str]] = {
            kind: [c.name for c in manifest.columns if c.kind == kind] for kind in _EXPECTED
        }
        self.datatypes = {c.name: _EXPECTED[c.kind] for c in manifest.columns}
        self.logged = tuple(n for n in manifest.logged if n not in self.kinds)
        self.time_column = manifest.time_column
        self._max_rows = max_rows
        self._known = frozenset(self.kinds) | frozenset(self.logged)

    def check_datatype(self, name: str, datatype: str) -> None:
        """Refuse a tensor whose datatype cannot hold the column.

        Raises:
            Refused: With 400.
        """
        kind = self.kinds.get(name)
        taken = _TAKEN[kind] if kind is not None else _TAKEN["number"]
        if datatype not in taken:
            expected = _EXPECTED[kind] if kind is not None else "BYTES or INT64"
            raise Refused(
                400, f"input {name!r}: found datatype {datatype[:32]!r}, expected {expected}"
            )

    def check_known(self, name: str) -> None:
        """Refuse a name that is no column of this model.

        Raises:
            Refused: With 400, naming the nearest column.
        """
        if name not in self._known:
            raise Refused(400, f"unknown input {name!r}{nearest(name, self._known)}")

    def rows(self, given: dict[str, list[Value]], num_rows: int) -> Rows:
        """Sort the columns into fed and logged, and check the kind of every value.

        Raises:
            Refused: With 400, naming the column.
        """
        if num_rows < 1:
            raise Refused(400, "found no rows, expected at least one")
        if num_rows > self._max_rows:
            raise Refused(413, f"found {num_rows} rows, expected at most {self._max_rows}")
        if not _SCALARS.issuperset(map(type, chain.from_iterable(given.values()))):
            raise _no_scalar(given)
        columns = given if given.keys() == self.kinds.keys() else self._fed(given)
        logged = {n: self._logged(n, given[n]) for n in self.logged if n in given}
        return Rows(num_rows, columns, logged)

    def _fed(self, given: Mapping[str, list[Value]]) -> dict[str, list[Value]]:
        for name in self.kinds:
            if name not in given:
                raise Refused(400, f"input {name!r} is missing; send one value or null per row")
        return {name: given[name] for name in self.kinds}

    def _logged(self, name: str, values: list[Value]) -> list[Value]:
        try:
            if name != self.time_column:
                return [None if v is None else as_text(v) for v in values]
            return [to_microseconds(v) for v in values]
        except ValueError as error:
            raise Refused(400, f"input {name!r}: {error}") from error


def _no_scalar(given: Mapping[str, Sequence[object]]) -> Refused:
    name, row, value = next(
        (name, row, value)
        for name, values in given.items()
        for row, value in enumerate(values)
        if type(value) not in _SCALARS
    )
    found = "a list" if isinstance(value, list) else "an object"
    return Refused(400, f"input {name!r}, row {row}: found {found}, expected one value or null")


def as_text(value: float | str) -> str:
    """Write a scalar as text the way the tables do: ``true``, ``1``, ``1.5``.

    >>> as_text(True), as_text(1), as_text(1.5), as_text("a")
    ('true', '1', '1.5', 'a')
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else repr(value)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name.

    >>> nearest("carier", ["carrier", "dest"])
    "; did you mean 'carrier'?"
    """
    close = difflib.get_close_matches(name[:255], list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
