"""The stage: raw pieces into a clean table and a quarantine, each row in one of them.

For each batch the rows set aside are committed first, the clean ones second, both with the batch's
newest offset. A kill in between leaves a quarantine that is ahead; the next run finds the batch by
that, and takes the rows that were set aside from there, so that the two tables always agree.
"""

from collections import Counter

from pydantic import Field

from everloop.spec.errors import DataError
from everloop.spec.progress import Progress, no_progress
from everloop.spec.project import Project, SourceSpec
from everloop.spec.record import Record
from everloop.store.tables import Table
from everloop.validate.batches import Batch, CleanTables, batches
from everloop.validate.sorting import Outcome, sort_rows


class CleanReport(Record):
    """What became of the rows of one run; `num_rows` is the sum of the others.

    Attributes:
        source: The source's name.
        num_rows: Raw rows looked at.
        kept: Rows in the clean table.
        filtered: Valid rows that `filter.keep` leaves out.
        duplicates: Valid rows whose key had been kept before.
        quarantined: Rows set aside, by the rule they broke first.
        empty: Columns without a value in any row that was kept.
        offset: The newest raw piece that is done; -1 if there is none.
    """

    source: str
    num_rows: int = 0
    kept: int = 0
    filtered: int = 0
    duplicates: int = 0
    quarantined: dict[str, int] = Field(default_factory=dict)
    empty: tuple[str, ...] = ()
    offset: int = -1


def clean(
    source: SourceSpec,
    project: Project,
    raw: Table,
    clean: Table,
    quarantine: Table,
    progress: Progress = no_progress,
) -> CleanReport:
    """Sort the raw rows that are new into the clean table and the quarantine.

    Raises:
        DataError: If there is no raw row, a column is missing, or more than
            `validate.max_bad_ratio` of a batch's rows are bad; nothing of that batch is committed.
        ProjectError: If an expression cannot be used.
        ConflictError: If another process cleans the same source.
    """
    tables = CleanTables(raw, clean, quarantine)
    total: Counter[str] = Counter()
    rules: Counter[str] = Counter()
    filled: dict[str, bool] = {}
    version = raw.version()
    if version < 0:
        raise DataError(f"{raw.name}: no rows yet; ingest source {source.name!r} first")
    for batch in batches(source, tables, version):
        outcome = sort_rows(batch, source, project, tables)
        _commit(outcome, batch, source, tables)
        total += Counter(
            kept=outcome.kept.height, filtered=outcome.filtered, duplicates=outcome.duplicates
        )
        rules.update(dict(outcome.bad.group_by("_rule").len().iter_rows()))
        for name in outcome.kept.columns if outcome.kept.height else ():
            has_value = outcome.kept[name].null_count() < outcome.kept.height
            filled[name] = filled.get(name, False) or has_value
        progress("rows", total.total() + rules.total())
    return CleanReport(
        source=source.name,
        num_rows=total.total() + rules.total(),
        quarantined=dict(rules.most_common()),
        empty=tuple(n for n, has_value in filled.items() if not has_value and n[0] != "_"),
        offset=clean.offset(source.name),
        **total,
    )


def _commit(outcome: Outcome, batch: Batch, source: SourceSpec, tables: CleanTables) -> None:
    if outcome.bad.height:
        tables.quarantine.append(outcome.bad, app=source.name, offset=batch.last)
    facts = {
        "kept": outcome.kept.height,
        "filtered": outcome.filtered,
        "duplicates": outcome.duplicates,
        "quarantined": outcome.bad.height,
    }
    tables.clean.append(outcome.kept, app=source.name, offset=batch.last, metadata=facts)
