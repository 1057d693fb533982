"""The label of a row: a column, or an expression over columns."""

import polars as pl

from everloop.spec.project import Project
from everloop.validate.expressions import read_expression


def label_expression(project: Project) -> pl.Expr:
    """Return the label as the column ``_label``; null where a row has none (yet).

    A column whose name is no word of SQL is written in double quotes.

    Raises:
        ProjectError: If the expression cannot be read.
    """
    return read_expression(project.label.expression, "sources[0].label").alias("_label")
