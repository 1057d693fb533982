"""Which trigger of ``[retrain]`` fires: each answers with the sentence that names its setting."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from everloop.loop.events import LoopState, Observed, RollBack, Tick
from everloop.measure.metrics import is_higher_better
from everloop.spec.durations import format_duration
from everloop.spec.project import RetrainSpec


def find_rollback(state: LoopState, event: Observed | Tick, spec: RetrainSpec) -> RollBack | None:
    """Return the rollback that is due, if the champion is surely worse than the one before it."""
    found = event.comparison if isinstance(event, Observed) else None
    if not spec.rollback or found is None or state.champion is None or state.former is None:
        return None
    if (found.version, found.former) != (state.champion, state.former):
        return None
    if found.num_rows < spec.rollback_min_rows or found.gain.high >= 0:
        return None
    reason = (
        f"version {found.version} is worse than version {found.former} on the same "
        f"{found.num_rows} rows (retrain.rollback_min_rows {spec.rollback_min_rows}): gain "
        f"{found.gain.estimate:+.4f} [{found.gain.low:+.4f}, {found.gain.high:+.4f}] at "
        f"retrain.rollback_confidence {spec.rollback_confidence:g}"
    )
    return RollBack(from_version=found.version, to_version=found.former, reason=reason)


def find_retrain(state: LoopState, event: Observed | Tick, spec: RetrainSpec) -> str:
    """Return the reason to retrain, or nothing; there is none without new labelled rows."""
    num_new = state.num_labelled - state.labelled_at_retrain
    if state.stream_time is None or num_new <= 0:
        return ""  # the same rows would make the same model
    if state.champion is None and state.retrained_at is None:
        return f"there is no champion yet, and {num_new} labelled rows"
    if _since(state.stream_time, state.retrained_at, state.rolled_back_at) < spec.cooldown:
        return ""
    if state.champion is None:
        return f"there is no champion yet, and {num_new} new labelled rows since the last attempt"
    found = [
        *_by_calendar(state, spec, num_new),
        *(_by_facts(state, event, spec) if isinstance(event, Observed) else ()),
    ]
    return "; ".join(found)


def _by_calendar(state: LoopState, spec: RetrainSpec, num_new: int) -> Iterable[str]:
    assert state.stream_time is not None
    elapsed = _since(state.stream_time, state.retrained_at or state.started_at)
    if spec.every is not None and elapsed >= spec.every:
        days = elapsed / timedelta(days=1)
        yield f"{days:.1f} days since the last retrain, retrain.every {format_duration(spec.every)}"
    if spec.after_rows is not None and num_new >= spec.after_rows:
        yield f"{num_new} new labelled rows, retrain.after_rows {spec.after_rows}"


def _by_facts(state: LoopState, event: Observed, spec: RetrainSpec) -> Iterable[str]:
    share = event.drift_share
    if spec.on_drift is not None and share is not None and share >= spec.on_drift:
        yield f"{share:.0%} of the columns have drifted, retrain.on_drift {spec.on_drift:.0%}"
    live = event.live
    if spec.live_floor is None or live is None or live.version != state.champion:
        return
    if (live.value < spec.live_floor) == is_higher_better(live.metric) and (
        live.value != spec.live_floor
    ):
        yield (
            f"live {live.metric} {live.value:.4f} on {live.num_rows} rows is worse than "
            f"retrain.live_floor {spec.live_floor:g}"
        )


def find_recalibration(state: LoopState, spec: RetrainSpec) -> str:
    """Return the reason to refit the champion's slope and bias, or nothing."""
    if spec.recalibrate_every is None or state.champion is None or state.stream_time is None:
        return ""
    num_new = state.num_labelled - max(state.labelled_at_retrain, state.labelled_at_recalibration)
    elapsed = _since(
        state.stream_time,
        state.started_at,
        state.retrained_at,
        state.recalibrated_at,
        state.rolled_back_at,
    )
    if num_new <= 0 or elapsed < spec.recalibrate_every:
        return ""
    return (
        f"{elapsed / timedelta(days=1):.1f} days since slope and bias were fitted, "
        f"retrain.recalibrate_every {format_duration(spec.recalibrate_every)}"
    )


def _since(now: datetime, *moments: datetime | None) -> timedelta:
    known = [moment for moment in moments if moment is not None]
    return now - max(known) if known else timedelta.max
