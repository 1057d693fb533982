"""Builders and fakes that tests, also a user's own, may import."""

from everloop.testing.projects import add_rows, make_project, make_rows

__all__ = ["add_rows", "make_project", "make_rows"]
