"""Which values earlier pieces had; only the columns in question are read."""

import polars as pl

from everloop.store.tables import Table


def occurs_earlier(values: pl.DataFrame, table: Table, before: int) -> pl.Series:
    """Tell for each row whether a table has its values in a piece before an offset.

    The table's columns are streamed past the rows, so memory holds the rows alone. A row with a
    null occurs nowhere.

    Args:
        values: The columns to look for.
        table: With the same columns.
        before: Offset of the first piece that does not count.
    """
    names = values.columns
    history = table.scan()
    if any(name not in history.collect_schema() for name in names):
        return pl.Series([False]).new_from_index(0, values.height)
    seen = (
        history.filter(pl.col("_offset") < before)
        .select(names)
        .join(values.lazy().unique(), on=names, how="semi")
        .unique()
        .with_columns(_seen=pl.lit(value=True))
        .collect(engine="streaming")
    )
    joined = values.join(seen, on=names, how="left", maintain_order="left")
    return joined["_seen"].fill_null(value=False)
