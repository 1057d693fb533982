"""The label of a row: a column, or an expression over columns."""

import polars as pl

from everloop.spec.project import Project
from everloop.validate.expressions import read_expression


def label_expression(project: Project) -> pl.Expr:
    """Return the label as the column ``_label``; null where a row has none (yet).

    Raises:
        ProjectError: If the expression cannot be read.
    """
    text = project.label.expression
    # A column's name need not be SQL: 'arr delay' is one, too.
    try:
        expression = read_expression(text, "sources[0].label")
    except Exception:
        if not text.replace(" ", "_").replace("-", "_").isidentifier():
            raise
        expression = pl.col(text)
    return expression.alias("_label")
