"""How long work tells how far it is, and a service what befell it."""

import sys
from collections.abc import Callable
from typing import Protocol

Tell = Callable[[str], None]
"""Told, a sentence each, what a person should know; it must be quick and must not raise."""


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


def on_stderr(who: str) -> Tell:
    """Return one that writes each sentence as a line to standard error, with who says so."""

    def tell(text: str) -> None:
        sys.stderr.write(f"{who}: {text}\n")

    return tell


def tell_nobody(text: str, /) -> None:
    """Tell nobody."""
