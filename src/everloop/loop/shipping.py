"""Brings the replica's spool to the tables, and keeps these from falling into crumbs."""

from everloop.loop.dataset import LABELS, PREDICTIONS
from everloop.loop.workspace import Workspace
from everloop.serve.ship import ShipReport, follow, ship

_COMPACT_AFTER = 64


class Shipping:
    """Ships one spool."""

    def __init__(self, ws: Workspace) -> None:
        self._ws = ws
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
            self.ship,
            wait=self._ws.clock.wait,
            interval_s=self._ws.project.serve.ship_interval.total_seconds(),
        )
