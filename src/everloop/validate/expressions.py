"""SQL expressions of a project file as Polars expressions; a broken one is named by its setting."""

from collections.abc import Mapping

import polars as pl

from everloop.spec.errors import DataError, Problem, ProjectError
from everloop.spec.project import Project

_FILE = "everloop.toml"


def broken(where: str, text: str) -> ProjectError:
    """Say that a setting of the project file cannot be used."""
    return ProjectError(_FILE, [Problem(where=where, line=0, text=text)])


def read_expression(text: str, where: str) -> pl.Expr:
    """Read a SQL expression.

    Raises:
        ProjectError: If it is none that Polars can read.

    >>> read_expression("delay > 30", "rules[0].expression").meta.root_names()
    ['delay']
    """
    try:
        return pl.sql_expr(text)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise broken(
            where, f"found {text!r}, expected a SQL expression: {_short(error)}"
        ) from error


def check_syntax(project: Project) -> None:
    """Read every expression of a project, before there is a row to try it on.

    Raises:
        ProjectError: With each that cannot be read.
    """
    found = [("sources[0].label", project.label.expression)]
    found += [(f"rules[{i}].expression", r.expression) for i, r in enumerate(project.rules)]
    if project.filter.keep is not None:
        found.append(("filter.keep", project.filter.keep))
    found += [
        (f"join[{i}].window.columns.{name}", text)
        for i, join in enumerate(project.join)
        if join.window is not None
        for name, text in join.window.columns.items()
    ]
    problems: list[Problem] = []
    for where, text in found:
        try:
            read_expression(text, where)
        except ProjectError as error:
            problems += error.problems
    if problems:
        raise ProjectError(_FILE, problems)


def check_expression(
    expression: pl.Expr, schema: Mapping[str, pl.DataType], where: str, table: str
) -> pl.DataType:
    """Check that an expression can be computed.

    Args:
        expression: What `read_expression` gave.
        schema: Columns of the table.
        where: The setting that holds it.
        table: Names the table in messages.

    Returns:
        The type of its values.

    Raises:
        DataError: If the table lacks a column.
        ProjectError: If the columns' types do not go with what is done to them.
    """
    check_columns(expression.meta.root_names(), schema, where, table)
    frame = pl.DataFrame(schema=dict(schema)).lazy()
    try:
        return frame.select(_x=expression).collect().schema["_x"]
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise broken(where, f"cannot be computed: {_short(error)}") from error


def check_columns(
    names: list[str], schema: Mapping[str, pl.DataType], where: str, table: str
) -> None:
    """Check that a table has columns.

    Raises:
        DataError: If it lacks one.
    """
    missing = [name for name in dict.fromkeys(names) if name not in schema]
    if missing:
        known = ", ".join(name for name in schema if not name.startswith("_"))
        raise DataError(
            f"{where}: names {', '.join(map(repr, missing))}, which {table} lacks; it has {known}. "
            f"Correct the name, or the data with `everloop ingest --anew`"
        )


def check_condition(
    expression: pl.Expr, schema: Mapping[str, pl.DataType], where: str, table: str
) -> pl.Expr:
    """Check that an expression is true or false for each row.

    Raises:
        DataError: If the table lacks a column.
        ProjectError: If it is something else.
    """
    dtype = check_expression(expression, schema, where, table)
    if dtype != pl.Boolean:
        raise broken(where, f"gives {dtype}, expected true or false; compare it with something")
    return expression


def _short(error: BaseException) -> str:
    return " ".join(str(error).split("\n\n")[0].split())[:300]
