"""Brings the replica's spool to the tables, and keeps these from falling into crumbs."""

from contextlib import suppress

from pydantic import AwareDatetime

from everloop.loop.dataset import LABELS, PREDICTIONS
from everloop.loop.workspace import Workspace
from everloop.serve.ship import ShipReport, follow, ship
from everloop.spec.errors import UnavailableError
from everloop.spec.progress import Tell, on_stderr
from everloop.spec.record import Record

_COMPACT_AFTER = 64
_say = on_stderr("ship")


class ShippingStatus(Record):
    """How a shipper fares; written when that changes.

    Attributes:
        at: Wall time of this note.
        trouble: Why nothing is shipped, or what could not be; empty if all is well.
    """

    at: AwareDatetime
    trouble: str = ""


class Shipping:
    """Ships one spool."""

    def __init__(self, ws: Workspace, tell: Tell = _say) -> None:
        """Prepare.

        Args:
            ws: The workspace.
            tell: Told of trouble, once for each kind of it.
        """
        self._ws = ws
        self._tell = tell
        self._trouble = ""
        self._noted: str | None = None
        self._predictions = ws.tables.table(PREDICTIONS)
        self._labels = ws.tables.table(LABELS)
        self._num_pieces = 0

    def ship(self) -> ShipReport:
        """Commit what is there."""
        report = ship(self._ws.spool, self._predictions, self._labels)
        self._num_pieces += report.num_pieces
        if self._num_pieces >= _COMPACT_AFTER:
            # Many small commits make many small files, and each costs every later read.
            self._predictions.compact()
            self._labels.compact()
            self._num_pieces = 0
        return report

    def follow(self) -> None:
        """Ship again and again until the clock is stopped."""
        follow(
            self._ship_and_note,
            wait=self._ws.clock.wait,
            interval_s=self._ws.project.serve.ship_interval.total_seconds(),
        )

    def _ship_and_note(self) -> ShipReport:
        try:
            report = self.ship()
        except UnavailableError as error:
            self._note(f"nothing is shipped: {error}")
            raise
        self._note(self._set_aside())
        return report

    def _set_aside(self) -> str:
        folder = self._ws.spool / "broken"
        number = sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0
        return f"lines that could not be read: {number}, in {folder}" if number else ""

    def _note(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            self._tell(trouble)
        self._trouble = trouble
        if trouble == self._noted:
            return
        status = ShippingStatus(at=self._ws.clock.now(), trouble=trouble)
        with suppress(UnavailableError):  # the store is away, and that is the trouble: noted later
            self._ws.objects.put(_path(self._ws), status.model_dump_json().encode())
            self._noted = trouble


def read_shipping(ws: Workspace) -> ShippingStatus | None:
    """Return the last note of a shipper, if there ever was one."""
    try:
        return ShippingStatus.model_validate_json(ws.objects.get(_path(ws)))
    except KeyError:
        return None


def _path(ws: Workspace) -> str:
    return f"status/ship/{ws.model}.json"
