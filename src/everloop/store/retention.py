"""Which of a table's files no version that is still wanted needs."""

import re
from collections.abc import Iterable
from datetime import datetime

from everloop.store.objects import ObjectInfo, Objects
from everloop.store.table import Table

_COMMIT = re.compile(r"(\d{20})\.json")
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint\.parquet")
_LOG = re.compile(r"(\d{20})\.(json|checkpoint\.parquet|checkpoint\.sha256)")


def unneeded(
    objects: Objects, table: Table, versions: Iterable[int], *, before: datetime
) -> list[ObjectInfo]:
    """List the files that neither these versions nor any since a time refer to.

    Args:
        objects: The store.
        table: The table.
        versions: Versions that must stay readable; those that are not readable any more are
            passed over.
        before: Files written later stay (they may belong to a commit on its way), and so do all
            versions since then (somebody may be reading them).

    Raises:
        CorruptError: If the table's records cannot be read; then nothing is known to be unneeded.
    """
    newest = table.version()
    if newest < 0:
        return []
    names = {i.path[len(table.folder) + 1 :]: i for i in objects.list(table.folder)}
    log = {n.removeprefix("_delta_log/"): i for n, i in names.items() if "_delta_log/" in n}
    oldest = _oldest_readable(log)
    wanted = {v for v in versions if oldest <= v <= newest} | {newest, _newest_at(log, before)}
    wanted = {max(version, oldest) for version in wanted}
    used = {file.name for version in sorted(wanted) for file in table.files(version)}
    data = [i for n, i in names.items() if n.startswith("part-") and n not in used]
    return [i for i in data + _unneeded_log(log, min(wanted)) if i.modified < before]


def _numbers(log: Iterable[str], pattern: re.Pattern[str]) -> list[int]:
    return sorted(int(match[1]) for name in log if (match := pattern.fullmatch(name)))


def _oldest_readable(log: dict[str, ObjectInfo]) -> int:
    commits = _numbers(log, _COMMIT)
    if commits and commits[0] == 0:
        return 0
    return min(_numbers(log, _CHECKPOINT), default=0)


def _newest_at(log: dict[str, ObjectInfo], before: datetime) -> int:
    old = {name for name, info in log.items() if info.modified < before}
    return max(_numbers(old, _COMMIT), default=0)


def _unneeded_log(log: dict[str, ObjectInfo], oldest_wanted: int) -> list[ObjectInfo]:
    floor = max((c for c in _numbers(log, _CHECKPOINT) if c <= oldest_wanted), default=0)
    return [
        info
        for name, info in log.items()
        if (match := _LOG.fullmatch(name)) and int(match[1]) < floor
    ]
