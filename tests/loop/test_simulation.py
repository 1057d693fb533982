"""Histories full of faults: one seed gives one history, and every step of it is checked."""

import time
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from everloop.loop.decide import replay, step, wait_after
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

NUM_HISTORIES = 1000
START = datetime(2013, 1, 1, tzinfo=UTC)
WALL = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


class World:
    """A loop in a world of faults; `feed` checks what must hold after every event."""

    def __init__(self, spec: RetrainSpec, gate: GateSpec) -> None:
        self.spec, self.gate = spec, gate
        self.state = LoopState()
        self.events: list[Any] = []
        self.stream, self.wall = START, WALL
        self.num_labelled = 0
        self.num_versions = 0
        self.retrained_at: datetime | None = None
        self.passed: set[int] = set()
        self.banned: set[int] = set()

    def feed(self, event: Any) -> tuple[Any, ...]:
        before = self.state
        self.events.append(event)
        self.state, actions = step(before, event, self.spec, self.gate)
        if isinstance(event, GateJudged) and not event.objections:
            self.passed.add(event.version)
        for action in actions:
            self.check(before, event, action)
        self.check_champion(before, event, actions)
        if before.stream_time is not None:
            assert self.state.stream_time is not None
            assert self.state.stream_time >= before.stream_time
        return actions

    def check(self, before: LoopState, event: Any, action: Any) -> None:
        reasons = getattr(action, "reasons", None) or (action.reason,)
        assert all(len(reason) > 3 for reason in reasons)
        if isinstance(action, Retrain | Recalibrate):
            assert before.job is None or before.job.stage == "failed"
            assert self.state.job is not None
            assert self.state.job.number == action.job
        if isinstance(action, Retrain):
            self.check_retrain(before, event, action)
        if isinstance(action, Promote | Hold | AskPerson):
            self.check_verdict(before, action)
        if isinstance(action, RollBack):
            assert self.spec.rollback
            assert event.comparison.gain.high < 0
            self.banned.add(action.from_version)

    def check_retrain(self, before: LoopState, event: Any, action: Retrain) -> None:
        now = self.state.stream_time
        assert now is not None
        if action.attempt == 1:
            if self.retrained_at is not None and not isinstance(event, RetrainByHand):
                assert now - self.retrained_at >= self.spec.cooldown
            self.retrained_at = now
            return
        assert before.job is not None
        assert before.job.failed_at is not None
        waited = event.wall_time - before.job.failed_at
        assert waited >= wait_after(before.job.num_failures)

    def check_verdict(self, before: LoopState, action: Promote | Hold | AskPerson) -> None:
        assert before.job is not None
        assert action.version == before.job.version
        if isinstance(action, Promote):
            assert self.gate.promote == "auto"
            assert action.version in self.passed
            assert action.version not in self.banned
        if isinstance(action, AskPerson):
            assert self.gate.promote == "manual"
            assert action.version in self.passed
        if isinstance(action, Hold):
            assert self.state.champion == before.champion

    def check_champion(self, before: LoopState, event: Any, actions: tuple[Any, ...]) -> None:
        if isinstance(event, TrainingFinished | TrainingFailed) and before.job != self.state.job:
            assert before.job is not None
            assert event.job == before.job.number
        by_hand = isinstance(event, PromotedByHand | RolledBackByHand)
        if before.champion != self.state.champion and not by_hand:
            assert [a for a in actions if isinstance(a, Promote | RollBack)]
        if isinstance(event, PromotedByHand):
            self.banned.discard(event.version)
        if isinstance(event, RolledBackByHand) and before.champion != event.to_version:
            self.banned.add(before.champion or 0)
            self.banned.discard(event.to_version)
        assert set(self.state.rejected) <= self.banned | {0}
        assert self.state.champion not in self.state.rejected
        assert self.state.former is None or self.state.former != self.state.champion

    def times(self) -> dict[str, datetime]:
        return {"stream_time": self.stream, "wall_time": self.wall}

    def pass_time(self, hours: float) -> None:
        self.stream += hours * HOUR
        self.wall += hours * HOUR

    def answer(self, *, is_good: bool) -> None:
        """Do what the job under way waits for, as a worker or a resumed controller would."""
        job = self.state.job
        if job is None or job.stage == "failed":
            return
        if job.stage == "gate":
            assert job.version is not None
            objections = () if is_good else ("worse",)
            self.feed(
                GateJudged(
                    **self.times(),
                    version=job.version,
                    champion=self.state.champion,
                    objections=objections,
                )
            )
        elif is_good:
            self.num_versions += 1
            self.feed(TrainingFinished(**self.times(), job=job.number, version=self.num_versions))
        else:
            self.feed(TrainingFailed(**self.times(), job=job.number, error="disk full"))

    def observe(self, *, new_rows: int, drift: float, live: float, gain: float) -> None:
        self.num_labelled += new_rows
        champion, former = self.state.champion, self.state.former
        comparison = fact = None
        if champion is not None:
            fact = LiveFact(metric="log_loss", value=live, version=champion, num_rows=500)
        if champion is not None and former is not None:
            bounds = Interval(estimate=gain, low=gain - 0.01, high=gain + 0.01)
            comparison = Comparison(version=champion, former=former, num_rows=2000, gain=bounds)
        self.feed(
            Observed(
                **self.times(),
                num_labelled=self.num_labelled,
                drift_share=drift,
                live=fact,
                comparison=comparison,
            )
        )

    def crash(self) -> None:
        """Lose all but the stored state."""
        self.state = LoopState.model_validate_json(self.state.model_dump_json())

    def settle(self) -> None:
        """Stop all faults and all new rows; the loop must come to rest."""
        self.wall = max(self.wall, WALL) + 1000 * HOUR
        self.stream = max(self.stream, self.state.stream_time or self.stream)
        for _ in range(12):
            self.pass_time(24)
            self.observe(new_rows=0, drift=1.0, live=9.0, gain=0.0)
            self.answer(is_good=True)
            self.answer(is_good=True)
        at_rest = len(self.events)
        assert self.state.job is None
        for _ in range(5):
            self.pass_time(24 * 365)
            assert self.feed(Tick(**self.times())) == ()
        assert len(self.events) == at_rest + 5


def specs(rng: Random) -> tuple[RetrainSpec, GateSpec]:
    def sometimes(value: Any) -> Any:
        return value if rng.random() < 0.6 else None

    spec = RetrainSpec(
        every=sometimes(rng.randint(1, 200) * HOUR),
        after_rows=sometimes(rng.randint(1, 500)),
        on_drift=sometimes(rng.uniform(0.1, 1)),
        live_floor=sometimes(rng.uniform(0.2, 0.8)),
        cooldown=rng.choice([0, 1, 24, 100]) * HOUR,
        recalibrate_every=sometimes(rng.randint(1, 100) * HOUR),
        rollback=rng.random() < 0.8,
    )
    return spec, GateSpec(promote="manual" if rng.random() < 0.2 else "auto")


def happen(world: World, rng: Random) -> None:
    """Let one thing happen, a fault as like as not."""
    what = rng.randrange(12)
    if what < 4:
        world.pass_time(rng.expovariate(1 / 12))
        world.observe(
            new_rows=rng.choice([0, 50, 300]),
            drift=rng.random(),
            live=rng.random(),
            gain=rng.gauss(0, 0.02),
        )
    elif what < 8:
        world.answer(is_good=rng.random() < 0.7)
    elif what == 8 and world.events:
        world.feed(rng.choice(world.events[-20:]))  # a message that is late, or comes twice
    elif what == 9:
        world.crash()
    elif what == 10:
        world.stream += rng.choice([-200, -1, 5]) * HOUR
        world.wall += rng.choice([-200, -1, 5]) * HOUR
        world.feed(Tick(**world.times()))
    elif world.num_versions:
        meddle(world, rng.randint(1, world.num_versions), rng.randrange(3))


def meddle(world: World, version: int, what: int) -> None:
    if what == 0:
        world.feed(PromotedByHand(**world.times(), version=version))
    elif what == 1 and world.state.former is not None:
        world.feed(RolledBackByHand(**world.times(), to_version=world.state.former))
    else:
        world.feed(
            RetrainByHand(**world.times(), num_labelled=world.num_labelled, reason="asked for")
        )


def history(seed: int) -> World:
    rng = Random(seed)
    world = World(*specs(rng))
    for _ in range(60):
        happen(world, rng)
    world.settle()
    return world


def test_a_thousand_histories_of_faults_break_no_promise() -> None:
    start = time.process_time()
    num_actions: dict[str, int] = {}
    for seed in range(NUM_HISTORIES):
        try:
            world = history(seed)
            replayed = replay(world.events, world.spec, world.gate)
            assert replayed == world.state
        except AssertionError as error:
            raise AssertionError(f"history {seed} breaks a promise: {error}") from error
        for event in world.events:
            num_actions[event.kind] = num_actions.get(event.kind, 0) + 1
    # The histories are worth something only if all of this happens in them.
    assert min(num_actions.values()) > 100
    assert len(num_actions) == 8
    assert time.process_time() - start < 30


class Loop(RuleBasedStateMachine):
    """The same promises, with a history that shrinks to the shortest that breaks one."""

    @initialize(seed=st.integers(0, 10_000))
    def begin(self, seed: int) -> None:
        self.world = World(*specs(Random(seed)))

    @rule(
        hours=st.floats(0, 300),
        new_rows=st.integers(0, 500),
        drift=st.floats(0, 1),
        live=st.floats(0, 1),
        gain=st.floats(-0.1, 0.1),
    )
    def look(self, hours: float, new_rows: int, drift: float, live: float, gain: float) -> None:
        self.world.pass_time(hours)
        self.world.observe(new_rows=new_rows, drift=drift, live=live, gain=gain)

    @rule(is_good=st.booleans())
    def work(self, *, is_good: bool) -> None:
        self.world.answer(is_good=is_good)

    @rule(back=st.integers(1, 20))
    def repeat(self, back: int) -> None:
        if back <= len(self.world.events):
            self.world.feed(self.world.events[-back])

    @rule(stream_hours=st.integers(-500, 500), wall_hours=st.integers(-500, 500))
    def jump(self, stream_hours: int, wall_hours: int) -> None:
        self.world.stream += stream_hours * HOUR
        self.world.wall += wall_hours * HOUR
        self.world.feed(Tick(**self.world.times()))

    @rule(share=st.floats(0, 0.999), what=st.integers(0, 2))
    def hand(self, share: float, what: int) -> None:
        if self.world.num_versions:
            meddle(self.world, 1 + int(share * self.world.num_versions), what)

    @rule()
    def crash(self) -> None:
        self.world.crash()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.settle()
            assert replay(self.world.events, self.world.spec, self.world.gate) == self.world.state


TestLoop = Loop.TestCase
TestLoop.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
