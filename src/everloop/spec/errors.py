"""The errors everloop raises, sorted by what the reader can do about them.

Every message says where, what was found, what was expected and what to do.
"""

from collections.abc import Sequence
from dataclasses import dataclass


class EverloopError(Exception):
    """Root of the errors that everloop raises on purpose; the command line shows them as text."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One mistake in a project file.

    Attributes:
        where: Dotted place in the file, such as ``sources[0].kind``.
        line: Line in the file, counted from 1; 0 where no line holds it.
        text: What was found, what was expected, what to do.
    """

    where: str
    line: int
    text: str


class ProjectError(EverloopError):
    """The project file has mistakes; all of them are listed."""

    def __init__(self, path: str, problems: Sequence[Problem]) -> None:
        self.path = path
        self.problems = tuple(problems)
        places = (f"{path}:{p.line}" if p.line else path for p in self.problems)
        super().__init__(
            "\n".join(
                f"{place}: {p.where}: {p.text}"
                for place, p in zip(places, self.problems, strict=True)
            )
        )


class DataError(EverloopError):
    """The data cannot be used as it is; the message names the rows, the file or the rule."""


class CorruptError(DataError):
    """Bytes in the store do not match their digest; nothing of them was used."""


class MissingExtraError(EverloopError):
    """A package that this setting needs is not installed."""

    def __init__(self, where: str, package: str, extra: str) -> None:
        self.package = package
        self.extra = extra
        super().__init__(
            f"{where} needs {package!r}, which is not installed.\n"
            f"Install it with: pip install 'everloop[{extra}]'"
        )


class UnavailableError(EverloopError):
    """Something outside did not answer, or is full; a later retry may help."""


class ConflictError(UnavailableError):
    """Another writer was first; read again and retry."""
