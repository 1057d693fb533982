"""Builders and fakes that tests, also a user's own, may import."""

from everloop.testing.clocks import ManualClock
from everloop.testing.projects import add_rows, make_project, make_rows

__all__ = ["ManualClock", "add_rows", "make_project", "make_rows"]
