"""How long work tells how far it is."""

from typing import Protocol


class Progress(Protocol):
    """Called now and then by long work; it must be quick and must not raise."""

    def __call__(self, what: str, done: int, total: int | None = None, /) -> None:
        """Note how far the work is.

        Args:
            what: What is counted, such as ``rows`` or ``trees``.
            done: How many are done.
            total: Of how many, or None where nobody knows yet.
        """


def no_progress(what: str, done: int, total: int | None = None, /) -> None:
    """Tell nobody."""
