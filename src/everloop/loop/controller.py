"""Carries out what `step` decides, and keeps the audit trail from which it goes on after a kill.

Each entry of the trail holds an event, the actions that followed and the new state. It is written
before the actions are carried out; `resume` does again what the last entry asks for, and every
action is such that doing it twice is the same as once.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import polars as pl

from everloop.loop.challenger import Making
from everloop.loop.cut import Cut
from everloop.loop.dataset import cut_now, stream_time
from everloop.loop.decide import step
from everloop.loop.events import (
    Action,
    Event,
    GateJudged,
    LoopState,
    PromotedByHand,
    Recalibrate,
    Retrain,
    RetrainByHand,
    RolledBackByHand,
    TrainingFailed,
    TrainingFinished,
)
from everloop.loop.facts import num_labelled
from everloop.loop.trail import find_job, in_words, make_record, reason_of
from everloop.loop.workspace import Workspace
from everloop.registry.routes import RouteTarget
from everloop.spec.errors import ConflictError, DataError, EverloopError
from everloop.spec.progress import Tell, tell_nobody

_ATTEMPTS = 10
# What a job may fail of without the controller failing too; it is tried again later. A controller
# that died of it would be started again at once, and train and die for ever.
_FAILURES = (
    EverloopError,
    OSError,
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    MemoryError,
    pl.exceptions.PolarsError,
)


class Controller:
    """The one who acts; hold the workspace's lease while using it unattended."""

    def __init__(self, ws: Workspace, tell: Tell = tell_nobody) -> None:
        """Prepare.

        Args:
            ws: The workspace.
            tell: Told of each decision, with its reasons.
        """
        self._ws = ws
        self._tell = tell
        self._last, self.state = self._load()

    def handle(self, event: Event) -> tuple[Action, ...]:
        """Decide on an event, record it, and carry out what follows.

        Raises:
            ConflictError: If others kept writing to the trail.
        """
        for _ in range(_ATTEMPTS):
            state, actions = step(
                self.state, event, self._ws.project.retrain, self._ws.project.gate
            )
            if not actions and _is_quiet(self.state, state):
                self.state = state
                return ()
            try:
                self._record(event, state, actions)
            except ConflictError:
                self._last, self.state = self._load()
                continue
            self._carry_out(actions)
            return actions
        raise ConflictError(f"decisions/{self._ws.model}: other writers were first; retry later")

    def resume(self) -> None:
        """Finish what a killed controller had begun."""
        self._reconcile("resumed")
        job = self.state.job
        if job is None or job.stage == "failed":
            return
        action, cut = find_job(self._ws, job.number)
        if job.stage == "run":
            self._make(action, cut)
        else:
            assert job.version is not None
            self._judge(job.version, self._making(action, cut))

    def retrain_by_hand(self, reason: str) -> tuple[Action, ...]:
        """Make a challenger of the rows there are now, whatever the triggers say."""
        number = num_labelled(self._ws, cut_now(self._ws))
        return self.handle(RetrainByHand(**self.moment(), num_labelled=number, reason=reason))

    def promote_by_hand(self, version: int, reason: str) -> None:
        """Make a version the champion because a person says so.

        Raises:
            DataError: If there is no such version.
        """
        self._ws.version_bundle(version)  # it must be there and whole
        self.handle(PromotedByHand(**self.moment(), version=version, reason=reason))
        self._reconcile(reason)

    def roll_back_by_hand(self, version: int | None, reason: str) -> int:
        """Put a version, or the former champion, back; return its number.

        Raises:
            DataError: If there is none to go back to.
        """
        version = version or self.state.former
        if version is None:
            raise DataError("there is no former champion to go back to; name one with --to")
        self._ws.version_bundle(version)  # it must be there and whole
        self.handle(RolledBackByHand(**self.moment(), to_version=version, reason=reason))
        self._reconcile(reason)
        return version

    def catch_up(self) -> None:
        """Follow what others wrote to the trail, such as a person who promoted by hand.

        What they decided is carried out too, in case they were killed before they could.
        """
        self._refresh()
        self._reconcile("decided by hand")

    def moment(self) -> dict[str, Any]:
        """Return the stream time, no later than now, and the wall time."""
        now, newest = self._ws.clock.now(), stream_time(self._ws)
        return {"wall_time": now, "stream_time": None if newest is None else min(newest, now)}

    def _refresh(self) -> bool:
        last = self._ws.decisions.last()
        if last is None or last.number == self._last:
            return False
        self._last, self.state = self._load()
        return True

    def _load(self) -> tuple[int, LoopState]:
        entry = self._ws.decisions.last()
        if entry is not None:
            return entry.number, LoopState.model_validate(entry.record["state"])
        return 0, LoopState(champion=self._ws.registry.aliases().get("champion"))

    def _record(self, event: Event, state: LoopState, actions: tuple[Action, ...]) -> None:
        starts = any(isinstance(action, Retrain | Recalibrate) for action in actions)
        record = make_record(event, state, actions, cut_now(self._ws) if starts else None)
        self._last = self._ws.decisions.append(record, expect=self._last).number
        self.state = state

    def _carry_out(self, actions: tuple[Action, ...]) -> None:
        for action in actions:
            self._tell(in_words(action))
            if isinstance(action, Retrain | Recalibrate):
                self._make(action, find_job(self._ws, action.job)[1])
            else:
                self._reconcile(reason_of(action))

    def _make(self, action: Retrain | Recalibrate, cut: Cut) -> None:
        making = self._making(action, cut)
        try:
            if isinstance(action, Retrain):
                bundle = making.compressed(making.trained())
            else:
                bundle = making.recalibrated(self._bundle(action.version))
        except _FAILURES as error:
            self._fail(action.job, error)
            return
        for run, is_new in making.runs:
            for warning in run.warnings if is_new else ():
                self._tell(f"warning: {warning}")
        version = self._ws.registry.register(bundle, note=action.reason).number
        self.handle(TrainingFinished(**self.moment(), job=action.job, version=version))
        self._judge(version, making)

    def _making(self, action: Retrain | Recalibrate, cut: Cut) -> Making:
        if isinstance(action, Retrain):
            return Making(self._ws, cut, also=self._champion_columns())
        manifest = self._ws.version_bundle(action.version).manifest
        fit = manifest.splits.get("fit")
        is_timed = fit is not None and manifest.time_column is not None
        return Making(
            self._ws, cut, since=datetime.fromisoformat(fit.last) if fit and is_timed else None
        )

    def _judge(self, version: int, making: Making) -> None:
        champion = self.state.champion
        against = None if champion in (None, version) else self._bundle(champion or 0)
        try:
            verdict = making.judged(self._bundle(version), against)
        except _FAILURES as error:
            self._fail(self.state.num_jobs, error)
            return
        self.handle(
            GateJudged(
                **self.moment(),
                version=version,
                champion=champion,
                objections=verdict.objections,
                summary=verdict.summary,
            )
        )

    def _fail(self, job: int, error: Exception) -> None:
        text = (
            str(error) if isinstance(error, EverloopError) else f"{type(error).__name__}: {error}"
        )
        self._tell(f"failed: {text}")
        self.handle(TrainingFailed(**self.moment(), job=job, error=text))

    def _reconcile(self, reason: str) -> None:
        """Make aliases and route say what the newest state says.

        Raises:
            ConflictError: If others kept moving them.
        """
        for _ in range(_ATTEMPTS):
            try:
                self._align(reason)
            except ConflictError:
                continue
            # Whoever decided meanwhile may have found everything as they wanted it, before this.
            if not self._refresh():
                return
        raise ConflictError(f"routes/{self._ws.model}: other writers were first; retry later")

    def _align(self, reason: str) -> None:
        # The numbers are read before the state: whoever decides later also moves later, and then
        # either this move is refused or theirs follows it.
        moves, route = self._ws.registry.moves(), self._ws.routes.current()
        aliases = self._ws.registry.aliases()
        self._refresh()
        champion = self.state.champion
        if champion is None:
            return
        wanted: Mapping[str, int | None] = {"champion": champion, "former": self.state.former}
        changes = {name: to for name, to in wanted.items() if aliases.get(name) != to}
        if changes:
            self._ws.registry.move(changes, reason=reason, expect=len(moves))
        target = RouteTarget(version=champion, bundle=self._bundle(champion))
        if route is None or route.live != (target,):
            number = 0 if route is None else route.number
            self._ws.routes.publish([target], reason=reason, expect=number)

    def _champion_columns(self) -> tuple[str, ...]:
        if self.state.champion is None:
            return ()
        manifest = self._ws.bundles.manifest(self._bundle(self.state.champion))
        return tuple(column.name for column in manifest.columns)

    def _bundle(self, version: int) -> str:
        return self._ws.registry.version(version).bundle


def _is_quiet(before: LoopState, after: LoopState) -> bool:
    """Whether only the clock and the count of rows went on, which need no entry."""
    ignored = {"stream_time": None, "num_labelled": 0}
    return before.model_copy(update=ignored) == after.model_copy(update=ignored)
