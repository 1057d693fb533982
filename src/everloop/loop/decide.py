"""The decision what to do next, as a pure function: state and event in, state and actions out.

It reads no clock, file or table, so one list of events always gives one history. Store the new
state before carrying the actions out: each names what it wants, and doing it again after a crash
changes nothing.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from everloop.loop.events import (
    Action,
    AskPerson,
    Event,
    GateJudged,
    Hold,
    Job,
    LoopState,
    Observed,
    Promote,
    PromotedByHand,
    Recalibrate,
    Retrain,
    RetrainByHand,
    RolledBackByHand,
    Tick,
    TrainingFailed,
    TrainingFinished,
)
from everloop.loop.triggers import find_recalibration, find_retrain, find_rollback
from everloop.spec.durations import format_duration
from everloop.spec.project import GateSpec, RetrainSpec

FIRST_WAIT = timedelta(seconds=30)
LONGEST_WAIT = timedelta(hours=6)

Step = tuple[LoopState, tuple[Action, ...]]


def step(state: LoopState, event: Event, spec: RetrainSpec, gate: GateSpec) -> Step:
    """Decide what follows from an event.

    At most one training, recalibration or judgement is under way at a time; promotions, holds and
    rollbacks are done at once. A message that fits no job under way is late or doubled, and changes
    nothing. A stream time that goes back changes nothing either.

    Args:
        state: What the last step gave; ``LoopState()`` to begin with, or with the champion that is
            already there.
        event: What happened.
        spec: ``[retrain]``.
        gate: ``[gate]``: who promotes.

    Returns:
        The new state, and actions with their reasons.
    """
    state = _pass_time(state, event)
    if isinstance(event, Observed | Tick):
        return _look(state, event, spec)
    if isinstance(event, TrainingFinished):
        return _finish(state, event)
    if isinstance(event, TrainingFailed):
        return _fail(state, event)
    if isinstance(event, GateJudged):
        return _judge(state, event, gate)
    if isinstance(event, RetrainByHand):
        return _start_by_hand(state, event)
    return _by_hand(state, event), ()


def replay(
    events: Iterable[Event], spec: RetrainSpec, gate: GateSpec, state: LoopState | None = None
) -> LoopState:
    """Run a list of events through `step` and return the last state."""
    state = state or LoopState()
    for event in events:
        state, _ = step(state, event, spec, gate)
    return state


def wait_after(num_failures: int) -> timedelta:
    """Say how long the next attempt waits: doubling from 30 s, six hours at most.

    >>> str(wait_after(1)), str(wait_after(3)), str(wait_after(100))
    ('0:00:30', '0:02:00', '6:00:00')
    """
    # The exponent is bounded so that no length overflows.
    return min(FIRST_WAIT * (1 << min(num_failures - 1, 20)), LONGEST_WAIT)


def _with(state: LoopState, **changes: Any) -> LoopState:  # noqa: ANN401 - any field
    return state.model_copy(update=changes)


def _pass_time(state: LoopState, event: Event) -> LoopState:
    changes: dict[str, Any] = {}
    if (newest := _newest(event)) is not None:
        now = max(newest, state.stream_time or newest)
        changes = {"stream_time": now, "started_at": state.started_at or now}
    if isinstance(event, Observed):
        changes["num_labelled"] = event.num_labelled
        is_first = state.num_labelled == 0 and state.num_jobs == 0
        if is_first and state.champion is not None:
            # A champion that was there before the loop has learned from the rows there were.
            changes["labelled_at_retrain"] = event.num_labelled
            changes["labelled_at_recalibration"] = event.num_labelled
    return _with(state, **changes)


def _newest(event: Event) -> datetime | None:
    has_rows = isinstance(event, Observed | RetrainByHand) and event.num_labelled > 0
    # Rows that carry no time happen when they are seen.
    return event.wall_time if event.stream_time is None and has_rows else event.stream_time


def _look(state: LoopState, event: Observed | Tick, spec: RetrainSpec) -> Step:
    rollback = find_rollback(state, event, spec)
    if rollback is not None:
        return _undo(state, rollback.to_version), (rollback,)
    if state.job is not None:
        return _retry(state, state.job, event)
    if reason := find_retrain(state, event, spec):
        return _start_retrain(state, reason)
    if reason := find_recalibration(state, spec):
        return _start_recalibration(state, reason)
    return state, ()


def _undo(state: LoopState, to_version: int) -> LoopState:
    rejected = tuple(version for version in state.rejected if version != to_version)
    if state.champion is not None and state.champion not in (to_version, *rejected):
        rejected = (*rejected, state.champion)
    # There is no way further back: the two would otherwise take turns on noise.
    return _with(
        state,
        champion=to_version,
        former=None,
        rejected=rejected,
        rolled_back_at=state.stream_time,
    )


def _start_retrain(state: LoopState, reason: str) -> Step:
    number = state.num_jobs + 1
    started = _with(
        state,
        job=Job(number=number, kind="retrain", reason=reason),
        num_jobs=number,
        retrained_at=state.stream_time,
        labelled_at_retrain=state.num_labelled,
    )
    return started, (Retrain(job=number, reason=reason),)


def _start_by_hand(state: LoopState, event: RetrainByHand) -> Step:
    if state.job is not None and state.job.stage != "failed":
        return state, ()
    # A person need not wait for the next attempt of a training that failed.
    return _start_retrain(_with(state, job=None, num_labelled=event.num_labelled), event.reason)


def _start_recalibration(state: LoopState, reason: str) -> Step:
    assert state.champion is not None
    number = state.num_jobs + 1
    started = _with(
        state,
        job=Job(number=number, kind="recalibrate", reason=reason),
        num_jobs=number,
        recalibrated_at=state.stream_time,
        labelled_at_recalibration=state.num_labelled,
    )
    return started, (Recalibrate(job=number, version=state.champion, reason=reason),)


def _retry(state: LoopState, job: Job, event: Event) -> Step:
    if job.stage != "failed" or job.failed_at is None:
        return state, ()
    # A wall clock that was set back starts the wait anew, so that it stays bounded.
    failed_at = min(job.failed_at, event.wall_time)
    wait = wait_after(job.num_failures)
    if event.wall_time - failed_at < wait:
        return _with(state, job=job.model_copy(update={"failed_at": failed_at})), ()
    number, attempt = state.num_jobs + 1, job.num_failures + 1
    again = job.model_copy(update={"number": number, "stage": "run"})
    reason = f"attempt {attempt}, {format_duration(wait)} after the last one failed: {job.reason}"
    action = Retrain(job=number, attempt=attempt, reason=reason)
    return _with(state, job=again, num_jobs=number), (action,)


def _finish(state: LoopState, event: TrainingFinished) -> Step:
    job = state.job
    if job is None or job.stage != "run" or job.number != event.job:
        return state, ()
    judged = job.model_copy(update={"stage": "gate", "version": event.version})
    return _with(state, job=judged), ()


def _fail(state: LoopState, event: TrainingFailed) -> Step:
    job = state.job
    if job is None or job.stage == "failed" or job.number != event.job:
        return state, ()
    if job.kind == "recalibrate":
        return _with(state, job=None), ()  # it comes round again by itself
    failed = job.model_copy(
        update={
            "stage": "failed",
            "num_failures": job.num_failures + 1,
            "failed_at": event.wall_time,
        }
    )
    return _with(state, job=failed), ()


def _judge(state: LoopState, event: GateJudged, gate: GateSpec) -> Step:
    job = state.job
    if job is None or job.stage != "gate" or job.version != event.version:
        return state, ()
    state = _with(state, job=None)
    if against := _reasons_against(state, event):
        return state, (Hold(version=event.version, reasons=against),)
    reasons = (*(event.summary or ("every check of [gate] passed",)), f"made because {job.reason}")
    if gate.promote == "manual":
        asked = AskPerson(version=event.version, reasons=(*reasons, "gate.promote is 'manual'"))
        return _with(state, waiting=event.version), (asked,)
    return _crown(state, event.version), (Promote(version=event.version, reasons=reasons),)


def _reasons_against(state: LoopState, event: GateJudged) -> tuple[str, ...]:
    found = list(event.objections)
    if event.version == state.champion:
        found.append(f"version {event.version} is the champion already")
    elif event.champion != state.champion:
        found.append(
            f"version {event.version} was judged against version {event.champion or 'none'}, but "
            f"the champion is now version {state.champion or 'none'}"
        )
    if event.version in state.rejected:
        found.append(
            f"version {event.version} was rolled back before (retrain.rollback); a person can "
            f"promote it with `everloop promote {event.version}`"
        )
    return tuple(found)


def _crown(state: LoopState, version: int) -> LoopState:
    return _with(
        state,
        champion=version,
        former=state.champion,
        promoted_at=state.stream_time,
        waiting=None,
    )


def _by_hand(state: LoopState, event: PromotedByHand | RolledBackByHand) -> LoopState:
    if isinstance(event, RolledBackByHand):
        return _undo(state, event.to_version)
    if event.version == state.champion:
        return _with(state, waiting=None)
    rejected = tuple(version for version in state.rejected if version != event.version)
    return _with(_crown(state, event.version), rejected=rejected)
