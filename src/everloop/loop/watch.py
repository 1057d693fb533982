"""Keeps turning the loop: looks at what came in, asks the decision core, acts."""

from datetime import UTC, datetime, timedelta

import polars as pl
from polars._typing import PolarsDataType

from everloop.drift import DriftReport
from everloop.loop.controller import Controller
from everloop.loop.dataset import LABELS, METRICS, PREDICTIONS, cut_now
from everloop.loop.events import LiveFact, Observed, Tick
from everloop.loop.facts import Looking, num_labelled
from everloop.loop.keeper import acting
from everloop.loop.turn import clean_all, take_in
from everloop.loop.workspace import Workspace
from everloop.measure.metrics import default_metric
from everloop.monitor import LiveMetric
from everloop.spec.errors import EverloopError
from everloop.spec.progress import Tell, on_stderr
from everloop.spec.record import Record

_COMPACT_EVERY = 64
_say = on_stderr("watch")
_YEAR_1 = datetime(1, 1, 1, tzinfo=UTC)


class Status(Record):
    """What a watching controller is doing; others read it to see how far it is.

    Attributes:
        stream_time: Newest time of data that it has dealt with.
        at: Wall time of this note.
        champion: The version now serving.
        num_labelled: Labels it has seen.
        trouble: Why the last look went wrong; empty if it did not.
    """

    stream_time: datetime | None = None
    at: datetime
    champion: int | None = None
    num_labelled: int = 0
    trouble: str = ""


class Watch:
    """One controller at work; `follow` until the clock is stopped."""

    def __init__(self, ws: Workspace, tell: Tell = _say, tell_decision: Tell = _say) -> None:
        """Prepare.

        Args:
            ws: The workspace.
            tell: Told of trouble, once for each kind of it.
            tell_decision: Told of each decision.
        """
        self._ws = ws
        self._tell = tell
        self._trouble = ""
        self._must_resume = True
        self._controller = Controller(ws, tell_decision)
        self._seen: tuple[int, ...] = ()
        self._observed_at: datetime | None = None
        self._observed_on_wall_at: datetime | None = None
        self._has_news = False
        self._num_observed = 0
        self._dealt_with: datetime | None = None

    def follow(self) -> None:
        """Look again and again.

        Raises:
            ConflictError: If another controller is at work.
        """
        with acting(self._ws, self._tell) as keeper:
            while not keeper.is_lost:
                self.look()
                if self._ws.clock.wait(self._ws.project.retrain.poll_interval.total_seconds()):
                    return

    def look(self) -> None:
        """Take in what is new, measure, decide, act; trouble is noted and tried again later."""
        trouble = ""
        try:
            take_in(self._ws)
            clean_all(self._ws)
        except EverloopError as error:
            # Rows that cannot be taken in must not keep the loop from caring for what is served.
            trouble = str(error)
        seen = tuple(
            self._ws.tables.table(name).version()
            for name in (PREDICTIONS, LABELS, f"clean/{self._ws.project.main.name}")
        )
        try:
            self._go_on()
            if seen != self._seen or self._is_overdue():
                self._decide()
                self._seen = seen
            elif self._controller.state.job is not None:
                self._controller.handle(Tick(**self._controller.moment()))
        except EverloopError as error:
            trouble = str(error)
            self._must_resume = True
        self._note(trouble)

    def _go_on(self) -> None:
        """Finish what a kill, or trouble at the last look, has left half done."""
        if self._must_resume:
            self._controller.resume()
            self._must_resume = False
        else:
            self._controller.catch_up()

    def _decide(self) -> None:
        moment = self._controller.moment()
        # Rows without a time happen when they are seen.
        now = moment["stream_time"] or moment["wall_time"]
        last, every = self._observed_at, self._ws.project.monitor.every
        if last is None or now - last >= every or self._is_overdue():
            if last is not None:
                # The stream may stand still, and what is measured is kept once for each moment.
                now = max(now, last + timedelta(microseconds=1))
            self._controller.handle(self._observe(moment, now))
            self._observed_at, self._observed_on_wall_at = now, moment["wall_time"]
            self._has_news = False
        else:
            self._has_news = True
            if moment["stream_time"] is None:
                number = num_labelled(self._ws, cut_now(self._ws))
                self._controller.handle(Observed(**moment, num_labelled=number))
        self._dealt_with = moment["stream_time"]

    def _is_overdue(self) -> bool:
        """Whether what came since the last observation has waited for as long on the wall clock.

        Where traffic has stopped, stream time stands still, and late labels come all the same.
        """
        if not self._has_news or self._observed_on_wall_at is None:
            return False
        return self._ws.clock.now() - self._observed_on_wall_at >= self._ws.project.monitor.every

    def _observe(self, moment: dict[str, datetime], now: datetime) -> Observed:
        ws, state = self._ws, self._controller.state
        known = num_labelled(ws, cut_now(ws))
        if state.champion is None:
            return Observed(**moment, num_labelled=known)
        bundle = ws.version_bundle(state.champion)
        looking = Looking(ws, now)
        live = looking.live(bundle)
        drift = looking.drift(bundle)
        self._keep(now, state.champion, live, drift)
        comparison = None
        if (
            state.former is not None
            and state.promoted_at is not None
            and ws.project.retrain.rollback
        ):
            comparison = looking.comparison(state.champion, state.former, state.promoted_at)
        name = ws.project.gate.metric or default_metric(bundle.manifest.task)
        return Observed(
            **moment,
            num_labelled=known,
            drift_share=None if drift is None else drift.drift_share,
            live=_fact(live, name, state.champion),
            comparison=comparison,
        )

    def _keep(
        self, now: datetime, champion: int, live: list[LiveMetric], drift: DriftReport | None
    ) -> None:
        """Append what was measured to the metrics table."""
        rows = [
            (now, m.version, "live", m.metric, m.value, m.low, m.high, m.num_rows) for m in live
        ]
        columns = () if drift is None else drift.columns
        rows += [
            (now, champion, "drift", c.name, c.psi, None, None, drift.num_rows if drift else 0)
            for c in columns
        ]
        if not rows:
            return
        table = self._ws.tables.table(METRICS)
        frame = pl.DataFrame(rows, schema=_METRICS_SCHEMA, orient="row")
        # A watch that was killed before it decided looks at the same moment again.
        table.append(frame, app="watch", offset=(now - _YEAR_1) // timedelta(microseconds=1))
        self._num_observed += 1
        if self._num_observed % _COMPACT_EVERY == 0:
            table.compact()

    def _note(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            self._tell(f"trouble, will try again: {trouble}")
        self._trouble = trouble
        state = self._controller.state
        status = Status(
            stream_time=self._dealt_with,
            at=self._ws.clock.now(),
            champion=state.champion,
            num_labelled=state.num_labelled,
            trouble=trouble,
        )
        self._ws.objects.put(f"status/{self._ws.model}.json", status.model_dump_json().encode())


def read_status(ws: Workspace) -> Status | None:
    """Return the last note of a watching controller, if there ever was one."""
    try:
        return Status.model_validate_json(ws.objects.get(f"status/{ws.model}.json"))
    except KeyError:
        return None


_METRICS_SCHEMA: dict[str, PolarsDataType] = {
    "time": pl.Datetime("us", "UTC"),
    "version": pl.Int64,
    "kind": pl.String,
    "name": pl.String,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "num_rows": pl.Int64,
}


def _fact(live: list[LiveMetric], name: str, champion: int) -> LiveFact | None:
    for found in live:
        if found.version == champion and found.metric == name and found.value is not None:
            return LiveFact(
                metric=name, value=found.value, version=champion, num_rows=found.num_rows
            )
    return None
