from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from everloop.loop.decide import LONGEST_WAIT, Step, step, wait_after
from everloop.loop.events import (
    AskPerson,
    Comparison,
    GateJudged,
    Hold,
    LiveFact,
    LoopState,
    Observed,
    Promote,
    PromotedByHand,
    Recalibrate,
    Retrain,
    RetrainByHand,
    RollBack,
    RolledBackByHand,
    Tick,
    TrainingFailed,
    TrainingFinished,
)
from everloop.measure.intervals import Interval
from everloop.spec.project import GateSpec, RetrainSpec

DAY = timedelta(days=1)
START = datetime(2013, 3, 1, tzinfo=UTC)
WORSE = Interval(estimate=-0.02, low=-0.03, high=-0.01)


def at(days: float) -> dict[str, Any]:
    return {"stream_time": START + days * DAY, "wall_time": START + days * DAY}


class Loop:
    """A state that events are fed to."""

    def __init__(self, spec: RetrainSpec, gate: GateSpec | None = None) -> None:
        self.spec, self.gate = spec, gate or GateSpec()
        self.state = LoopState()

    def feed(self, event: Any) -> tuple[Any, ...]:
        found: Step = step(self.state, event, self.spec, self.gate)
        self.state = found[0]
        return found[1]

    def see(self, days: float, num_labelled: int, **facts: Any) -> tuple[Any, ...]:
        return self.feed(Observed(**at(days), num_labelled=num_labelled, **facts))

    def train(self, days: float, version: int, *objections: str) -> tuple[Any, ...]:
        assert self.state.job is not None
        self.feed(TrainingFinished(**at(days), job=self.state.job.number, version=version))
        return self.feed(
            GateJudged(
                **at(days), version=version, champion=self.state.champion, objections=objections
            )
        )


def running(spec: RetrainSpec, gate: GateSpec | None = None) -> Loop:
    """A loop whose first version serves since day 0, with 1,000 labelled rows."""
    loop = Loop(spec, gate)
    loop.see(0, 1000)
    loop.train(0, 1)
    if loop.state.champion is None:
        loop.feed(PromotedByHand(**at(0), version=1))
    return loop


def test_the_first_model_is_trained_once_there_are_labelled_rows() -> None:
    loop = Loop(RetrainSpec())
    assert loop.see(0, 0) == ()
    (action,) = loop.see(0.1, 500)
    assert isinstance(action, Retrain)
    assert action.reason == "there is no champion yet, and 500 labelled rows"
    (promoted,) = loop.train(0.2, 1)
    assert isinstance(promoted, Promote)
    assert loop.state.champion == 1


def test_the_calendar_retrains_and_names_its_setting() -> None:
    loop = running(RetrainSpec(every=28 * DAY))
    assert loop.see(27, 2000) == ()
    (action,) = loop.see(28, 2000)
    assert action.reason == "28.0 days since the last retrain, retrain.every 4w"


def test_enough_new_rows_retrain() -> None:
    loop = running(RetrainSpec(after_rows=500))
    assert loop.see(5, 1499) == ()
    (action,) = loop.see(5, 1500)
    assert action.reason == "500 new labelled rows, retrain.after_rows 500"


def test_drift_retrains_and_several_reasons_stand_together() -> None:
    loop = running(RetrainSpec(on_drift=0.5, every=7 * DAY))
    assert loop.see(2, 1100, drift_share=0.4) == ()
    (action,) = loop.see(8, 1100, drift_share=0.6)
    assert "; 60% of the columns have drifted, retrain.on_drift 50%" in action.reason


@pytest.mark.parametrize(
    ("metric", "good", "poor"), [("log_loss", 0.35, 0.45), ("auc", 0.75, 0.25)]
)
def test_a_live_metric_past_its_floor_retrains_in_either_direction(
    metric: str, good: float, poor: float
) -> None:
    loop = running(RetrainSpec(live_floor=0.4))

    def live(value: float, version: int = 1) -> LiveFact:
        return LiveFact(metric=metric, value=value, version=version, num_rows=300)

    assert loop.see(2, 1100, live=live(good)) == ()
    assert loop.see(2, 1100, live=live(0.4)) == ()
    assert loop.see(2, 1100, live=live(poor, version=9)) == ()
    (action,) = loop.see(2, 1100, live=live(poor))
    assert action.reason.endswith("on 300 rows is worse than retrain.live_floor 0.4")


def test_nothing_is_remade_from_the_same_rows() -> None:
    loop = running(RetrainSpec(every=DAY, recalibrate_every=DAY))
    assert loop.see(50, 1000) == ()


def test_a_cooldown_keeps_a_ringing_alarm_from_retraining_again() -> None:
    loop = running(RetrainSpec(on_drift=0.1, cooldown=7 * DAY))
    found = [loop.see(day, 1000 + day, drift_share=1.0) for day in range(1, 8)]
    assert found[:6] == [()] * 6
    assert isinstance(found[6][0], Retrain)


def test_only_one_training_is_under_way() -> None:
    loop = running(RetrainSpec(every=DAY))
    assert loop.see(2, 2000)
    assert loop.see(10, 3000) == ()
    assert loop.feed(Tick(**at(20))) == ()


def test_a_tick_is_enough_for_the_calendar() -> None:
    loop = running(RetrainSpec(every=7 * DAY))
    loop.see(1, 2000)
    assert isinstance(loop.feed(Tick(**at(7)))[0], Retrain)


def test_a_held_version_leaves_the_champion_and_says_why() -> None:
    loop = running(RetrainSpec(every=DAY))
    loop.see(2, 2000)
    (held,) = loop.train(2, 2, "gain -0.0100 is under gate.min_gain +0.0000")
    assert held == Hold(version=2, reasons=("gain -0.0100 is under gate.min_gain +0.0000",))
    assert (loop.state.champion, loop.state.job) == (1, None)


def test_a_promotion_says_what_speaks_for_it_and_why_it_was_made() -> None:
    loop = running(RetrainSpec(every=DAY))
    loop.see(2, 2000)
    assert loop.state.job is not None
    loop.feed(TrainingFinished(**at(2), job=loop.state.job.number, version=2))
    (promoted,) = loop.feed(
        GateJudged(**at(2), version=2, champion=1, objections=(), summary=("log_loss gain +0.01",))
    )
    assert promoted.reasons[0] == "log_loss gain +0.01"
    assert promoted.reasons[1].startswith("made because 2.0 days since the last retrain")
    assert (loop.state.champion, loop.state.former) == (2, 1)


def test_a_failed_training_is_tried_again_with_longer_and_longer_waits() -> None:
    loop = running(RetrainSpec(every=DAY))
    loop.see(2, 2000)
    waits = []
    now = START + 2 * DAY
    for attempt in range(2, 16):
        assert loop.state.job is not None
        failed = TrainingFailed(wall_time=now, job=loop.state.job.number, error="disk full")
        assert loop.feed(failed) == ()
        failed_at = now
        while not (found := loop.feed(Tick(wall_time=now))):
            now += timedelta(seconds=30)
        waits.append(now - failed_at)
        assert found[0].attempt == attempt
        assert "2.0 days since the last retrain" in found[0].reason
    assert waits[:4] == [timedelta(seconds=s) for s in (30, 60, 120, 240)]
    assert max(waits) == LONGEST_WAIT == wait_after(10**6)


def test_a_wall_clock_set_back_does_not_stop_a_retry() -> None:
    loop = running(RetrainSpec(every=DAY))
    loop.see(2, 2000)
    assert loop.state.job is not None
    late = START + 1000 * DAY
    loop.feed(TrainingFailed(wall_time=late, job=loop.state.job.number, error="x"))
    assert loop.feed(Tick(wall_time=START)) == ()
    assert isinstance(loop.feed(Tick(wall_time=START + timedelta(seconds=30)))[0], Retrain)


def test_rows_without_a_time_go_by_the_wall_clock() -> None:
    loop = Loop(RetrainSpec(every=7 * DAY))

    def see(days: float, num_labelled: int) -> tuple[Any, ...]:
        return loop.feed(Observed(wall_time=START + days * DAY, num_labelled=num_labelled))

    assert see(0, 0) == ()
    assert isinstance(see(0, 100)[0], Retrain)
    loop.train(0, 1)
    assert see(6, 200) == ()
    assert isinstance(see(7, 200)[0], Retrain)


def test_a_person_can_ask_for_a_training_but_not_for_two() -> None:
    loop = running(RetrainSpec())
    asked = RetrainByHand(**at(1), num_labelled=1000, reason="everloop run")
    assert loop.feed(asked)[0].reason == "everloop run"
    assert loop.feed(asked) == ()


def test_a_stream_time_that_goes_back_changes_nothing() -> None:
    loop = running(RetrainSpec(every=7 * DAY, cooldown=7 * DAY, on_drift=0.1))
    loop.see(7, 2000)
    loop.train(7, 2)
    before = loop.state
    assert loop.see(-300, 2000, drift_share=1.0) == ()
    assert loop.state == before
    assert loop.see(8, 2500, drift_share=1.0) == ()


def test_messages_that_come_late_or_twice_change_nothing() -> None:
    loop = running(RetrainSpec(every=DAY))
    loop.see(2, 2000)
    assert loop.state.job is not None
    number = loop.state.job.number
    for event in (
        TrainingFinished(**at(2), job=number - 1, version=7),
        TrainingFailed(**at(2), job=number - 1, error="x"),
        GateJudged(**at(2), version=7, champion=1, objections=()),
    ):
        before = loop.state
        assert loop.feed(event) == ()
        assert loop.state == before
    loop.train(2, 2)
    assert loop.feed(GateJudged(**at(2), version=2, champion=1, objections=())) == ()


def test_slope_and_bias_are_refitted_between_retrains() -> None:
    loop = running(RetrainSpec(every=28 * DAY, recalibrate_every=7 * DAY))
    assert loop.see(6, 1100) == ()
    (action,) = loop.see(7, 1200)
    assert isinstance(action, Recalibrate)
    assert action.version == 1
    assert "retrain.recalibrate_every 1w" in action.reason
    assert isinstance(loop.train(7, 2)[0], Promote)
    assert loop.see(8, 1300) == ()


def test_a_failed_recalibration_comes_round_again_by_itself() -> None:
    loop = running(RetrainSpec(recalibrate_every=7 * DAY))
    loop.see(7, 1200)
    assert loop.state.job is not None
    loop.feed(TrainingFailed(**at(7), job=loop.state.job.number, error="x"))
    assert loop.state.job is None
    assert loop.see(13, 1300) == ()
    assert loop.see(14, 1300)


def worse(version: int, former: int, num_rows: int = 2000, high: float = -0.01) -> Comparison:
    gain = WORSE.model_copy(update={"high": high})
    return Comparison(version=version, former=former, num_rows=num_rows, gain=gain)


def second(spec: RetrainSpec) -> Loop:
    """A loop whose second version serves since day 2."""
    loop = running(RetrainSpec(every=DAY))
    loop.see(2, 2000)
    loop.train(2, 2)
    loop.spec = spec
    assert (loop.state.champion, loop.state.former) == (2, 1)
    return loop


def test_a_champion_worse_than_its_predecessor_is_undone() -> None:
    loop = second(RetrainSpec(every=DAY))
    assert loop.see(2.1, 2100, comparison=worse(2, 1, num_rows=999)) == ()
    assert loop.see(2.1, 2100, comparison=worse(2, 1, high=0.0)) == ()
    assert loop.see(2.1, 2100, comparison=worse(9, 1)) == ()
    (action,) = loop.see(2.2, 2100, comparison=worse(2, 1))
    assert isinstance(action, RollBack)
    assert (action.from_version, action.to_version) == (2, 1)
    assert action.reason == (
        "version 2 is worse than version 1 on the same 2000 rows (retrain.rollback_min_rows "
        "1000): gain -0.0200 [-0.0300, -0.0100] at retrain.rollback_confidence 0.99"
    )
    assert (loop.state.champion, loop.state.former, loop.state.rejected) == (1, None, (2,))


def test_after_a_rollback_the_cooldown_starts_again_and_there_is_no_way_further_back() -> None:
    loop = second(RetrainSpec(every=DAY, cooldown=3 * DAY))
    loop.see(3, 2100, comparison=worse(2, 1))
    assert loop.see(3.5, 2200, comparison=worse(1, 2)) == ()
    assert loop.see(5.9, 2300) == ()
    assert isinstance(loop.see(6, 2400)[0], Retrain)


def test_a_version_that_was_rolled_back_is_not_promoted_again() -> None:
    loop = second(RetrainSpec(every=DAY))
    loop.see(3, 2100, comparison=worse(2, 1))
    loop.see(5, 2200)
    (held,) = loop.train(5, 2)
    assert isinstance(held, Hold)
    assert "was rolled back before (retrain.rollback)" in held.reasons[0]


def test_a_rollback_can_be_switched_off() -> None:
    loop = second(RetrainSpec(every=DAY, rollback=False))
    assert loop.see(2.5, 2100, comparison=worse(2, 1)) == ()


def test_a_rollback_does_not_wait_for_a_training() -> None:
    loop = second(RetrainSpec(every=DAY))
    loop.see(4, 2100)
    assert isinstance(loop.see(4, 2100, comparison=worse(2, 1))[0], RollBack)
    assert loop.state.job is not None


def test_a_verdict_against_another_champion_holds() -> None:
    loop = second(RetrainSpec(every=DAY))
    loop.see(4, 2100)
    assert loop.state.job is not None
    loop.feed(TrainingFinished(**at(4), job=loop.state.job.number, version=3))
    loop.see(4, 2100, comparison=worse(2, 1))
    (held,) = loop.feed(GateJudged(**at(4), version=3, champion=2, objections=()))
    assert held.reasons == (
        "version 3 was judged against version 2, but the champion is now version 1",
    )


def test_a_person_has_the_last_word_where_promotion_is_manual() -> None:
    loop = running(RetrainSpec(every=DAY), GateSpec(promote="manual"))
    loop.see(2, 2000)
    (asked,) = loop.train(2, 2)
    assert isinstance(asked, AskPerson)
    assert asked.reasons[-1] == "gate.promote is 'manual'"
    assert (loop.state.champion, loop.state.waiting) == (1, 2)
    loop.feed(PromotedByHand(**at(3), version=2))
    assert (loop.state.champion, loop.state.former, loop.state.waiting) == (2, 1, None)


def test_a_person_may_bring_a_rejected_version_back() -> None:
    loop = second(RetrainSpec(every=DAY))
    loop.feed(RolledBackByHand(**at(3), to_version=1))
    assert (loop.state.champion, loop.state.rejected) == (1, (2,))
    loop.feed(PromotedByHand(**at(4), version=2))
    assert (loop.state.champion, loop.state.rejected) == (2, ())


def test_a_champion_that_was_there_before_the_loop_is_not_remade_at_once() -> None:
    loop = Loop(RetrainSpec(after_rows=100, every=7 * DAY))
    loop.state = LoopState(champion=4)
    assert loop.see(0, 100_000) == ()
    assert isinstance(loop.see(1, 100_100)[0], Retrain)


def test_a_state_survives_json() -> None:
    loop = second(RetrainSpec(every=DAY))
    loop.see(4, 2100)
    assert LoopState.model_validate_json(loop.state.model_dump_json()) == loop.state
