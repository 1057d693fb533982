"""The label of a row: a column, or an expression over columns."""

from collections.abc import Mapping

import polars as pl

from everloop.spec.project import Project
from everloop.validate.expressions import check_expression, read_expression

_WHERE = "sources[0].label"


def label_expression(project: Project) -> pl.Expr:
    """Return the label as the column ``_label``; null where a row has none (yet).

    A column whose name is no word of SQL is written in double quotes.

    Raises:
        ProjectError: If the expression cannot be read.
    """
    return read_expression(project.label.expression, _WHERE).alias("_label")


def check_label(project: Project, schema: Mapping[str, pl.DataType]) -> pl.Expr:
    """Return the label as `label_expression`, checked against the columns it is made of.

    Raises:
        DataError: If a column of it is missing.
        ProjectError: If it cannot be read, or not computed from columns of these types.
    """
    label = label_expression(project)
    check_expression(label, schema, _WHERE, "the data")
    return label
