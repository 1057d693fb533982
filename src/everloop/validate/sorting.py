"""A batch of raw rows, sorted: kept, filtered, duplicate, or set aside with the rule it broke."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from everloop.spec.errors import DataError
from everloop.spec.project import Project, SourceSpec
from everloop.validate.batches import Batch, CleanTables
from everloop.validate.expressions import check_condition, read_expression
from everloop.validate.history import occurs_earlier
from everloop.validate.kinds import ORIGINAL, applied, kinds_of
from everloop.validate.rules import MALFORMED, REPEATED, Rule, rules_of, unique_columns

_NUM_NAMED = 5
_PLACE = ["_offset", "_row"]


@dataclass(frozen=True)
class Outcome:
    """What became of a batch.

    Attributes:
        kept: Clean rows.
        bad: Rows set aside, as they were, with ``_rule`` and ``_value``.
        filtered: Number of rows that `filter.keep` left out.
        duplicates: Number of rows whose key had been kept before.
    """

    kept: pl.DataFrame
    bad: pl.DataFrame
    filtered: int
    duplicates: int


def sort_rows(batch: Batch, source: SourceSpec, project: Project, tables: CleanTables) -> Outcome:
    """Sort the rows of a batch.

    Raises:
        DataError: If too many rows are bad, or a column is missing.
        ProjectError: If an expression cannot be used.
    """
    rows = applied(_without_empty_marks(batch.rows), kinds_of(source, project))
    if batch.is_set_aside:
        bad = _set_aside(batch, tables)
        is_bad = _is_among(rows, bad)
    else:
        bad, is_bad = _judge(rows, batch, source, project, tables)
    good = _without_marks(rows.filter(~is_bad) if is_bad.any() else rows)
    wanted = _wanted(good, source, project)
    kept = _first_of_key(wanted, batch, source, project, tables)
    return Outcome(kept, bad, good.height - wanted.height, wanted.height - kept.height)


def _without_empty_marks(raw: pl.DataFrame) -> pl.DataFrame:
    has_none = MALFORMED in raw.columns and raw[MALFORMED].null_count() == raw.height
    return raw.drop(MALFORMED) if has_none else raw


def _judge(
    rows: pl.DataFrame, batch: Batch, source: SourceSpec, project: Project, tables: CleanTables
) -> tuple[pl.DataFrame, pl.Series]:
    """The rows that break a rule, as they were and with the reason, and which ones they are."""
    rules = rules_of(source, project, rows.schema)
    # Kept beside the rows: a column put among them would cost a copy of all of them.
    repeated = [
        _repeated(name, batch, tables)
        for name in unique_columns(source, project)
        if name in batch.rows.columns
    ]
    broken = [rule.broken for rule in rules if not rule.needs_history]
    is_bad = (
        rows.lazy().select(_bad=pl.any_horizontal(pl.lit(value=False), *broken)).collect()["_bad"]
    )
    if len(is_bad) < rows.height:
        is_bad = is_bad.new_from_index(0, rows.height)
    for found in repeated:
        is_bad |= found
    bad = rows.filter(is_bad).with_columns(found.filter(is_bad) for found in repeated)
    bad = _as_it_was(_with_reason(bad, rules))
    _check_share(bad, rows.height, source, project)
    return bad, is_bad


def _repeated(name: str, batch: Batch, tables: CleanTables) -> pl.Series:
    values = batch.rows[name]
    if values.dtype.is_float():
        values = values.fill_nan(None)  # NaN counts as missing
    found = values.is_duplicated()
    if batch.first > 0:
        found |= occurs_earlier(values.to_frame(), tables.raw, batch.first)
    return (found & values.is_not_null()).alias(f"{REPEATED}{name}")


def _set_aside(batch: Batch, tables: CleanTables) -> pl.DataFrame:
    is_in_batch = pl.col("_offset").is_between(batch.first, batch.last)
    return tables.quarantine.scan().filter(is_in_batch).collect()


def _is_among(rows: pl.DataFrame, bad: pl.DataFrame) -> pl.Series:
    marked = bad.select(*_PLACE, _is_bad=pl.lit(value=True))
    joined = rows.select(_PLACE).join(marked, on=_PLACE, how="left", maintain_order="left")
    return joined["_is_bad"].fill_null(value=False)


def _with_reason(bad: pl.DataFrame, rules: Sequence[Rule]) -> pl.DataFrame:
    rule = value = pl.lit(None, dtype=pl.String)
    for one in reversed(rules):
        rule = pl.when(one.broken).then(pl.lit(one.name)).otherwise(rule)
        value = pl.when(one.broken).then(one.value).otherwise(value)
    return bad.with_columns(_rule=rule, _value=value)


def _check_share(bad: pl.DataFrame, num_rows: int, source: SourceSpec, project: Project) -> None:
    limit = project.validate_.max_bad_ratio
    if not num_rows or bad.height / num_rows <= limit:
        return
    top = bad.group_by("_rule").agg(pl.len(), pl.col("_value").first()).sort("len", descending=True)
    named = "; ".join(
        f"{rule} {count} (such as {value!r:.200})"
        for rule, count, value in top.head(_NUM_NAMED).rows()
    )
    raise DataError(
        f"source {source.name!r}: {bad.height} of {num_rows} rows are bad, expected at most "
        f"validate.max_bad_ratio {limit:g} of them: {named}. Nothing of them was committed; "
        f"mend the rules, or the data with `everloop ingest --anew`, or raise "
        f"validate.max_bad_ratio"
    )


def _without_marks(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(pl.exclude(rf"^({REPEATED}|{ORIGINAL}).*$", MALFORMED))


def _as_it_was(bad: pl.DataFrame) -> pl.DataFrame:
    originals = [n for n in bad.columns if n.startswith(ORIGINAL)]
    restored = [pl.col(n).alias(n.removeprefix(ORIGINAL)) for n in originals]
    return _without_marks(bad.with_columns(restored))


def _wanted(rows: pl.DataFrame, source: SourceSpec, project: Project) -> pl.DataFrame:
    text = project.filter.keep
    if text is None or source.name != project.main.name:
        return rows
    schema: Mapping[str, pl.DataType] = rows.schema
    keep = check_condition(
        read_expression(text, "filter.keep"), schema, "filter.keep", f"source {source.name!r}"
    )
    return rows.filter(keep)


def _first_of_key(
    rows: pl.DataFrame, batch: Batch, source: SourceSpec, project: Project, tables: CleanTables
) -> pl.DataFrame:
    if not source.key or not project.filter.deduplicate:
        return rows
    key = list(source.key)
    has_null = pl.any_horizontal(pl.col(key).is_null())
    is_new = (
        pl.struct(key).is_first_distinct() if len(key) > 1 else pl.col(key[0]).is_first_distinct()
    )
    rows = rows.filter(is_new | has_null)
    if batch.first == 0 or tables.clean.version() < 0:
        return rows
    return rows.filter(~occurs_earlier(rows.select(key), tables.clean, batch.first))
