import polars as pl
import pytest
from polars.testing import assert_frame_equal

from everloop.spec.errors import DataError
from everloop.store.schemas import UTC_TIME, cast_to, plan_schema, stored_type


@pytest.mark.parametrize(
    ("found", "stored"),
    [
        (pl.UInt8(), pl.Int16()),
        (pl.UInt64(), pl.Int64()),
        (pl.Categorical(), pl.String()),
        (pl.Enum(["a"]), pl.String()),
        (pl.Datetime("ms", "Europe/Berlin"), UTC_TIME),
        (pl.List(pl.UInt8), pl.List(pl.Int16)),
        (pl.Array(pl.Float64, 3), pl.List(pl.Float64)),
        (pl.Struct({"t": pl.Datetime("ns")}), pl.Struct({"t": UTC_TIME})),
        (pl.Decimal(10, 2), pl.Decimal(10, 2)),
        (pl.Duration("us"), None),
        (pl.Time(), None),
        (pl.Object(), None),
        (pl.Struct({"t": pl.Time}), None),
    ],
)
def test_each_type_is_stored_as_one_that_a_table_knows(
    found: pl.DataType, stored: pl.DataType | None
) -> None:
    assert stored_type(found) == stored


def test_the_tables_columns_come_first_and_in_its_order() -> None:
    found = pl.Schema({"new": pl.Int8, "b": pl.Int8, "a": pl.String, "nothing": pl.Null})
    table = pl.Schema({"a": pl.String, "gone": pl.Int8, "b": pl.Int64})
    plan = plan_schema("raw", found, table)
    assert list(plan.items()) == [("a", pl.String()), ("b", pl.Int64()), ("new", pl.Int8())]


@pytest.mark.parametrize(
    ("found", "table"),
    [
        (pl.String(), pl.Int64()),
        (pl.Int64(), pl.Int32()),
        (pl.Int64(), pl.Float64()),
        (pl.Float64(), pl.Float32()),
        (pl.Boolean(), pl.Int8()),
        (pl.List(pl.Int8), pl.List(pl.Int64)),
    ],
)
def test_a_type_that_could_lose_something_is_refused(
    found: pl.DataType, table: pl.DataType
) -> None:
    with pytest.raises(DataError, match=r"raw: column 'a' has type .*, expected .* rows before"):
        plan_schema("raw", pl.Schema({"a": found}), pl.Schema({"a": table}))


def test_a_type_that_no_table_holds_is_refused() -> None:
    with pytest.raises(DataError, match="column 'a' has type Time, which a table cannot hold"):
        plan_schema("raw", pl.Schema({"a": pl.Time()}), None)


def test_values_keep_their_meaning_in_the_type_they_are_stored_as() -> None:
    frame = pl.DataFrame({"u": [1, None], "c": ["x", None]}).cast(
        {"u": pl.UInt32, "c": pl.Categorical}
    )
    plan = plan_schema("raw", frame.schema, None)
    found = cast_to(frame.lazy(), frame.schema, plan).collect()
    assert_frame_equal(found, pl.DataFrame({"u": [1, None], "c": ["x", None]}))


def test_a_number_too_large_to_store_is_an_error_and_not_another_number() -> None:
    frame = pl.DataFrame({"u": pl.Series([2**64 - 1], dtype=pl.UInt64)})
    plan = plan_schema("raw", frame.schema, None)
    with pytest.raises(pl.exceptions.InvalidOperationError, match="conversion from `u64`"):
        cast_to(frame.lazy(), frame.schema, plan).collect()
