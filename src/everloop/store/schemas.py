"""Which column types a table holds, and how a frame's columns become them.

A table knows no unsigned numbers, no categories and one kind of timestamp (microseconds, UTC).
What can be stored without loss is cast; everything else is an error that names the column.
"""

from collections.abc import Mapping

import polars as pl
from polars.datatypes import DataTypeClass

from everloop.spec.errors import DataError

UTC_TIME = pl.Datetime("us", "UTC")
_KEPT = (
    pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.Float32, pl.Float64,
    pl.Boolean, pl.String, pl.Binary, pl.Date, pl.Decimal,
)  # fmt: skip
_SIGNED: Mapping[type[pl.DataType], pl.DataType] = {
    pl.UInt8: pl.Int16(),
    pl.UInt16: pl.Int32(),
    pl.UInt32: pl.Int64(),
    pl.UInt64: pl.Int64(),
    pl.Categorical: pl.String(),
    pl.Enum: pl.String(),
}
_WIDER: Mapping[type[pl.DataType], tuple[type[pl.DataType], ...]] = {
    pl.Int8: (pl.Int16, pl.Int32, pl.Int64, pl.Float32, pl.Float64),
    pl.Int16: (pl.Int32, pl.Int64, pl.Float32, pl.Float64),
    pl.Int32: (pl.Int64, pl.Float64),
    pl.Float32: (pl.Float64,),
}


def stored_type(dtype: pl.DataType) -> pl.DataType | None:
    """Return the type a column is stored as; None if a table cannot hold it.

    >>> stored_type(pl.UInt32())
    Int64
    >>> stored_type(pl.Datetime("ns"))
    Datetime(time_unit='us', time_zone='UTC')
    """
    if isinstance(dtype, _KEPT):
        return dtype
    if isinstance(dtype, pl.Datetime):
        return UTC_TIME
    if isinstance(dtype, pl.List | pl.Array):
        inner = stored_type(_as_instance(dtype.inner))
        return pl.List(inner) if inner is not None else None
    if isinstance(dtype, pl.Struct):
        fields = {field.name: stored_type(_as_instance(field.dtype)) for field in dtype.fields}
        known = {name: inner for name, inner in fields.items() if inner is not None}
        return pl.Struct(known) if len(known) == len(fields) else None
    return _SIGNED.get(type(dtype))


def _as_instance(dtype: pl.DataType | DataTypeClass) -> pl.DataType:
    return dtype if isinstance(dtype, pl.DataType) else dtype()


def plan_schema(where: str, found: pl.Schema, table: pl.Schema | None) -> pl.Schema:
    """Decide the types a frame's columns are stored as.

    Args:
        where: The table, for messages.
        found: The frame's columns. One without a type (all null) that the table does not know is
            left out, until a later frame gives it a type.
        table: The table's columns; None if it does not exist yet.

    Returns:
        The columns to write: the table's first, in its order, then new ones.

    Raises:
        DataError: If a column cannot be stored, or has another type in the table.
    """
    known = table or pl.Schema()
    names = [name for name in known if name in found]
    names += [name for name in found if name not in known and found[name] != pl.Null]
    return pl.Schema(
        {name: _planned_type(where, name, found[name], known.get(name)) for name in names}
    )


def _planned_type(
    where: str, name: str, found: pl.DataType, table: pl.DataType | None
) -> pl.DataType:
    if table is not None and found == pl.Null:
        return table
    stored = stored_type(found)
    if stored is None:
        raise DataError(
            f"{where}: column {name!r} has type {found}, which a table cannot hold; "
            "turn it into numbers, text, timestamps, or lists of them"
        )
    if table is None or stored == table or type(table) in _WIDER.get(type(stored), ()):
        return stored if table is None else table
    raise DataError(
        f"{where}: column {name!r} has type {found}, expected {table} as in the rows before; "
        "turn it into that type, or give the column another name"
    )


def cast_to(frame: pl.LazyFrame, found: pl.Schema, plan: pl.Schema) -> pl.LazyFrame:
    """Return the frame with the planned columns, in the plan's order; a lossy value is an error."""
    return frame.select(
        pl.col(name) if found[name] == dtype else pl.col(name).cast(dtype)
        for name, dtype in plan.items()
    )
