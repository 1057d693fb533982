"""Merges a table's small files, so that reading it costs no file for each commit."""

from deltalake import DeltaTable
from deltalake.transaction import AddAction, RemoveAction

from everloop.spec.errors import ConflictError
from everloop.store import delta
from everloop.store.datafiles import DataFiles
from everloop.store.delta import DataFile
from everloop.store.seals import Commit

TARGET_BYTES = 128 << 20
"""Neighbouring files are merged up to about this size."""
APP = "_compact"


def group_small(files: list[DataFile], target_bytes: int = TARGET_BYTES) -> list[list[DataFile]]:
    """Group neighbours whose sizes add up to at most the target; single files are left out."""
    groups: list[list[DataFile]] = [[]]
    size_bytes = 0
    for file in files:
        if groups[-1] and size_bytes + file.size_bytes > target_bytes:
            groups.append([])
            size_bytes = 0
        groups[-1].append(file)
        size_bytes += file.size_bytes
    return [group for group in groups if len(group) > 1]


def compact(name: str, table: DeltaTable, files: DataFiles) -> bool:
    """Merge small files in one commit that changes no rows.

    Returns:
        Whether there was a commit; another writer that took the same files comes first.
    """
    groups = group_small(delta.data_files(table))
    if not groups:
        return False
    schema = delta.arrow_schema(table)
    merged = [files.write(files.scan(group, schema), order=group[0].order) for group in groups]
    # deltalake lets two commits remove the same file, which would double its rows; one app for
    # all compactions makes the later one fail.
    commit = Commit(
        adds=[file for file in merged if file],
        removes=[file for group in groups for file in group],
        app=APP,
        offset=table.version(),
    )
    actions: list[AddAction | RemoveAction] = [
        RemoveAction(file.name, data_change=False, deletion_timestamp=delta.now_ms())
        for file in commit.removes
    ]
    actions += [file.add_action(is_new=False) for file in commit.adds]
    try:
        with delta.explained(name):
            table.create_write_transaction(
                actions,
                "append",
                table.schema(),
                commit_properties=commit.properties(),
                post_commithook_properties=delta.NO_HOOKS,
            )
    except ConflictError:
        for file in merged:
            files.discard(file)
        return False
    return True
