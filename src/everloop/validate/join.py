"""The as-of join: each row gets what was known of another source at its time, less a lag.

Both sides are sorted here, so rows may lie in any order. A row of the other source counts for
times from its own on; rows of one time count together. Nothing newer than time - lag is used.
"""

from collections.abc import Mapping

import polars as pl

from everloop.spec.errors import DataError
from everloop.spec.project import JoinSpec, Project, WindowSpec
from everloop.validate.expressions import broken, check_columns, check_expression, read_expression

_AT, _KNOWN_AT, _ORDER = "_join:at", "_join:known_at", "_join:order"


def join(frame: pl.LazyFrame, project: Project, others: Mapping[str, pl.LazyFrame]) -> pl.LazyFrame:
    """Add the columns of every `[join]` to the main source's rows.

    Args:
        frame: Rows of the main source, in any order; they come back in the same one.
        project: The project.
        others: Source name to its rows, in any order.

    Returns:
        The frame with the new columns; null where the other source had nothing to say.

    Raises:
        DataError: If a column is missing, or a new one is there already.
        ProjectError: If an aggregate cannot be computed.
    """
    for i, spec in enumerate(project.join):
        frame = _join_one(frame, project, spec, others[spec.source], f"join[{i}]")
    return frame


def _join_one(
    frame: pl.LazyFrame, project: Project, spec: JoinSpec, other: pl.LazyFrame, where: str
) -> pl.LazyFrame:
    main, source = project.main, project.source(spec.source)
    assert main.time is not None
    assert source.time is not None
    if spec.max_age is not None and spec.max_age < spec.lag:
        raise broken(f"{where}.max_age", "shorter than the lag, so no row would ever be used")
    check_columns([main.time, *spec.by], frame.collect_schema(), where, f"source {main.name!r}")
    schema = other.collect_schema()
    columns = _columns(spec, source.time, source.key, schema)
    table = f"source {source.name!r}"
    check_columns([source.time, *spec.by, *columns], schema, where, table)
    _check_types(frame.collect_schema(), schema, spec, where)
    right = _last_of_each_time(other, spec, source.time, columns)
    if spec.window is not None:
        right = _with_window(right, other, spec, source.time, where)
        columns += tuple(spec.window.columns)
    taken = [name for name in columns if name in frame.collect_schema()]
    if taken:
        raise DataError(
            f"{where}: the main source has {', '.join(map(repr, taken))} already; name "
            f"the columns to take with {where}.columns, or rename one"
        )
    return _as_of(frame, right, spec, main.time)


def _check_types(
    left: Mapping[str, pl.DataType], right: Mapping[str, pl.DataType], spec: JoinSpec, where: str
) -> None:
    for name in spec.by:
        if left[name] != right[name]:
            raise DataError(
                f"{where}.by: {name!r} is {left[name]} in the main source and {right[name]} in "
                f"{spec.source!r}, expected one type; set columns.{name}.kind = 'category'"
            )


def _columns(
    spec: JoinSpec, time: str, key: tuple[str, ...], schema: Mapping[str, pl.DataType]
) -> tuple[str, ...]:
    if spec.columns is not None:
        return spec.columns
    left_out = {*spec.by, time, *key}
    return tuple(n for n in schema if n not in left_out and not n.startswith("_"))


def _micros(time: str) -> pl.Expr:
    return pl.col(time).cast(pl.Datetime("us", "UTC"))


def _last_of_each_time(
    other: pl.LazyFrame, spec: JoinSpec, time: str, columns: tuple[str, ...]
) -> pl.LazyFrame:
    """One row for each time and `by`, the one that came last, as of when it may be used."""
    rows = other.filter(pl.all_horizontal(pl.col([time, *spec.by]).is_not_null()))
    rows = rows.select(*spec.by, *columns, _micros(time).alias(_AT))
    rows = rows.unique([*spec.by, _AT], keep="last", maintain_order=True)
    return rows.with_columns((pl.col(_AT) + spec.lag).alias(_KNOWN_AT))


def _with_window(
    right: pl.LazyFrame, other: pl.LazyFrame, spec: JoinSpec, time: str, where: str
) -> pl.LazyFrame:
    """Add each aggregate over the rows of the window that ends with the row's own time."""
    assert spec.window is not None
    window: WindowSpec = spec.window
    schema = other.collect_schema()
    aggregates = [
        _aggregate(name, text, schema, f"{where}.window.columns.{name}")
        for name, text in window.columns.items()
    ]
    rows = other.filter(pl.all_horizontal(pl.col([time, *spec.by]).is_not_null()))
    rolled = (
        rows.with_columns(_micros(time).alias(_AT))
        .sort(*spec.by, _AT)
        .rolling(_AT, period=window.length, group_by=list(spec.by) or None)
        .agg(aggregates)
        .unique([*spec.by, _AT], keep="last")
    )
    return right.join(rolled, on=[*spec.by, _AT], how="left", maintain_order="left")


def _aggregate(name: str, text: str, schema: Mapping[str, pl.DataType], where: str) -> pl.Expr:
    expression = read_expression(text, where)
    check_expression(expression, schema, where, "the joined source")
    grouped = pl.LazyFrame(schema=dict(schema)).group_by(pl.lit(1)).agg(expression.alias(name))
    if grouped.collect_schema()[name] == pl.List:
        raise broken(where, f"found {text!r}, expected an aggregate, such as MAX(column)")
    return expression.alias(name)


def _as_of(frame: pl.LazyFrame, right: pl.LazyFrame, spec: JoinSpec, time: str) -> pl.LazyFrame:
    left = frame.with_row_index(_ORDER).with_columns(_micros(time).alias(_KNOWN_AT))
    # A null time or key matches nothing; such rows keep their place.
    joined = left.sort(_KNOWN_AT, nulls_last=True).join_asof(
        right.sort(_KNOWN_AT),
        on=_KNOWN_AT,
        by=list(spec.by) or None,
        strategy="backward",
        tolerance=None if spec.max_age is None else spec.max_age - spec.lag,
        check_sortedness=False,
    )
    return joined.sort(_ORDER).drop(_ORDER, _KNOWN_AT, _AT)
