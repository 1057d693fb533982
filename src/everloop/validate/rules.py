"""What a source's rows must hold, as Polars expressions that are true for a row that breaks it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import polars as pl

from everloop.spec.project import ColumnSpec, Project, SourceSpec
from everloop.validate.expressions import broken, check_columns, check_condition, read_expression
from everloop.validate.kinds import ORIGINAL

MALFORMED = "_malformed"
REPEATED = "_repeated:"
"""Before a column's name: whether its value occurs in another row, here or in an earlier piece."""


@dataclass(frozen=True)
class Rule:
    """One thing that a row can break.

    Attributes:
        name: Stands in quarantine beside the row.
        broken: True, for a row that breaks it; never null.
        value: What was found, as text.
        needs_history: Whether `broken` is a column that only the rows of earlier pieces can tell.
    """

    name: str
    broken: pl.Expr
    value: pl.Expr
    needs_history: bool = False


def rules_of(
    source: SourceSpec, project: Project, schema: Mapping[str, pl.DataType]
) -> tuple[Rule, ...]:
    """Return the rules of a source, in the order in which the first broken one is named.

    Args:
        source: The source.
        project: Its project.
        schema: The source's columns, after their kinds were applied.

    Raises:
        DataError: If a rule needs a column that the source lacks.
        ProjectError: If an expression or pattern cannot be used.
    """
    return tuple(_rules(source, project, schema))


def unique_columns(source: SourceSpec, project: Project) -> tuple[str, ...]:
    """Return the columns whose values may occur once only; those of the main source."""
    if source.name != project.main.name:
        return ()
    return tuple(name for name, spec in project.columns.items() if spec.unique)


def _rules(
    source: SourceSpec, project: Project, schema: Mapping[str, pl.DataType]
) -> Iterator[Rule]:
    if MALFORMED in schema:
        yield Rule("malformed", pl.col(MALFORMED).is_not_null(), pl.col(MALFORMED))
    _check_present(source, project, schema)
    for name, spec in _column_specs(source, project).items():
        if name in schema:
            yield from _column_rules(name, spec, schema)
    for name in unique_columns(source, project):
        yield Rule(f"{name}.unique", pl.col(f"{REPEATED}{name}"), _text(name), needs_history=True)
    for i, rule in enumerate(project.rules):
        if (rule.source or project.main.name) == source.name:
            where = f"rules[{i}].expression"
            good = read_expression(rule.expression, where)
            check_condition(good, schema, where, f"source {source.name!r}")
            yield Rule(rule.name, ~good.fill_null(value=False), _found(good))


def _column_specs(source: SourceSpec, project: Project) -> dict[str, ColumnSpec]:
    specs = dict(project.columns)
    if source.time is not None:
        # A row without a time has no place in a split or a window.
        spec = specs.get(source.time, ColumnSpec())
        specs[source.time] = spec.model_copy(update={"kind": "time", "required": True})
    return specs


def _check_present(source: SourceSpec, project: Project, schema: Mapping[str, pl.DataType]) -> None:
    table = f"source {source.name!r}"
    if source.time is not None:
        check_columns([source.time], schema, f"sources.{source.name}.time", table)
    check_columns(list(source.key), schema, f"sources.{source.name}.key", table)
    if source.name != project.main.name or any(join.columns is None for join in project.join):
        return
    brought = {n for join in project.join for n in join.columns or ()}
    brought |= {n for join in project.join if join.window for n in join.window.columns}
    for name in project.columns:
        if name not in brought:
            check_columns([name], schema, f"columns.{name}", table)


def _column_rules(name: str, spec: ColumnSpec, schema: Mapping[str, pl.DataType]) -> Iterator[Rule]:
    column, value = pl.col(name), _text(name)
    if f"{ORIGINAL}{name}" in schema:
        original = pl.col(f"{ORIGINAL}{name}")
        unfit = original.is_not_null() & column.is_null()
        yield Rule(f"{name}.kind", unfit, original.cast(pl.String))
    if spec.required:
        yield Rule(f"{name}.required", column.is_null(), value)
    if spec.min is not None or spec.max is not None:
        _check_number(name, schema)
    if spec.min is not None:
        yield Rule(f"{name}.min", _filled(column < spec.min), value)
    if spec.max is not None:
        yield Rule(f"{name}.max", _filled(column > spec.max), value)
    if spec.values is not None:
        allowed = _allowed(spec.values, schema[name])
        plain = column.cast(pl.Float64 if schema[name].is_numeric() else pl.String)
        yield Rule(f"{name}.values", _filled(~plain.is_in(allowed)), value)
    if spec.pattern is not None:
        yield Rule(f"{name}.pattern", _filled(~_matches(name, spec.pattern)), value)


def _filled(condition: pl.Expr) -> pl.Expr:
    # A null breaks `required` alone.
    return condition.fill_null(value=False)


def _text(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.String, strict=False)


def _found(expression: pl.Expr) -> pl.Expr:
    names = list(dict.fromkeys(expression.meta.root_names()))
    return pl.struct(names).struct.json_encode() if names else pl.lit(None, dtype=pl.String)


def _check_number(name: str, schema: Mapping[str, pl.DataType]) -> None:
    if not schema[name].is_numeric():
        raise broken(
            f"columns.{name}",
            f"min and max need a number, found {schema[name]}; set kind = 'number', or drop them",
        )


def _allowed(values: tuple[str | float, ...], dtype: pl.DataType) -> list[str] | list[float]:
    if dtype.is_numeric():
        return [float(v) for v in values if not isinstance(v, str) or _is_number(v)]
    return [str(int(v)) if isinstance(v, float) and v.is_integer() else str(v) for v in values]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _matches(name: str, pattern: str) -> pl.Expr:
    whole = f"^(?:{pattern})$"
    try:
        pl.Series([""]).str.contains(whole)
    except pl.exceptions.PolarsError as error:
        text = " ".join(str(error).split())[:300]
        raise broken(
            f"columns.{name}.pattern", f"found {pattern!r}, expected a regular expression: {text}"
        ) from error
    return _text(name).str.contains(whole)
