"""Starts a source over, as long as no clean row was made of what was read."""

from everloop.ingest.plans import read_plans
from everloop.loop.keeper import acting
from everloop.loop.workspace import Workspace
from everloop.spec.errors import DataError


def forget_raw(ws: Workspace, source: str) -> int:
    """Take back what was read of a source, so that its mended files are read as new ones.

    Returns:
        The raw rows that were taken back.

    Raises:
        DataError: If clean rows were made of the raw ones, or a file they came from is gone.
        ConflictError: If another controller is at work.
    """
    with acting(ws):
        raw = ws.tables.table(f"raw/{source}")
        if raw.version() < 0:
            return 0
        plans = read_plans(ws.objects, source)
        _check(ws, source, {plan.file for plan in plans})
        num_rows = raw.num_rows()
        # The newest commit goes first, so that after a kill the table is whole, if shorter, and
        # its plans, which are more than it holds, keep the next run from reading on.
        log = sorted(
            (i.path for i in ws.objects.list(f"tables/{raw.name}/_delta_log")), reverse=True
        )
        for path in log:
            ws.objects.delete([path])
        ws.objects.delete([info.path for info in ws.objects.list(f"tables/{raw.name}")])
        for path in sorted((i.path for i in ws.objects.list(f"ingest/{source}")), reverse=True):
            ws.objects.delete([path])
        return num_rows


def _check(ws: Workspace, source: str, files: set[str]) -> None:
    for kind in ("clean", "quarantine"):
        if ws.tables.table(f"{kind}/{source}").version() >= 0:
            raise DataError(
                f"source {source!r}: {kind} rows were made of what was read, and rows are never "
                "lost; put mended rows into a new file"
            )
    gone = sorted(name for name in files if not (ws.root / name).is_file())
    if gone:
        raise DataError(
            f"source {source!r}: {', '.join(gone)} is gone, so its rows could not be read again; "
            "restore the file first"
        )
