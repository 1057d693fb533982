from collections.abc import Callable

import pytest

from everloop.serve.batcher import Batcher
from everloop.serve.http.messages import Refused


class Query:
    def __init__(self, num_rows: int = 1, model: str = "a") -> None:
        self.num_rows = num_rows
        self.queued_at = 0.0
        self.model: object = model
        self.is_abandoned = False
        self.is_expired = False

    def expire(self) -> None:
        self.is_expired = True


class Desk:
    """A batcher with a clock and an event loop that only move when told."""

    def __init__(self, *, is_inline: bool = True, max_wait_s: float = 0.0) -> None:
        self.now = 0.0
        self.batches: list[list[Query]] = []
        self.due: list[Callable[[], None]] = []
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.is_inline = is_inline
        self.batcher: Batcher[Query] = Batcher(
            self.run,
            max_rows=4,
            max_queue_rows=8,
            max_wait_s=max_wait_s,
            timeout_s=10.0,
            clock=lambda: self.now,
            call_soon=self.due.append,
            call_later=lambda wait, call: self.timers.append((self.now + wait, call)),
        )

    def run(self, batch: list[Query]) -> bool:
        self.batches.append(batch)
        return self.is_inline

    def turn(self) -> None:
        due, self.due[:] = list(self.due), []
        for call in due:
            call()

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        ready = [call for at, call in self.timers if at <= self.now]
        self.timers = [timer for timer in self.timers if timer[0] > self.now]
        for call in ready:
            call()

    def sizes(self) -> list[int]:
        return [sum(query.num_rows for query in batch) for batch in self.batches]


def test_what_arrives_in_one_turn_is_one_batch() -> None:
    desk = Desk()
    for _ in range(3):
        desk.batcher.add(Query())
    desk.turn()
    assert desk.sizes() == [3]


def test_a_full_batch_leaves_the_rest_for_the_next_turn() -> None:
    desk = Desk()
    for rows in (3, 2, 2):
        desk.batcher.add(Query(rows))
    desk.turn()
    assert desk.sizes() == [3]
    desk.turn()
    assert desk.sizes() == [3, 4]


def test_two_models_never_share_a_batch() -> None:
    desk = Desk()
    for model in ("a", "a", "b"):
        desk.batcher.add(Query(model=model))
    desk.turn()
    desk.turn()
    assert [[query.model for query in batch] for batch in desk.batches] == [["a", "a"], ["b"]]


def test_a_lone_row_leaves_when_its_wait_is_over() -> None:
    desk = Desk(max_wait_s=0.01)
    desk.batcher.add(Query())
    desk.turn()
    assert desk.sizes() == []
    desk.pass_time(0.01)
    assert desk.sizes() == [1]


def test_a_full_batch_does_not_wait() -> None:
    desk = Desk(max_wait_s=0.01)
    for _ in range(4):
        desk.batcher.add(Query())
    desk.turn()
    assert desk.sizes() == [4]


def test_a_timer_that_fires_after_its_batch_left_does_no_harm() -> None:
    desk = Desk(max_wait_s=0.01)
    for _ in range(4):
        desk.batcher.add(Query())
    desk.turn()
    desk.pass_time(0.01)
    desk.batcher.add(Query())
    desk.pass_time(0.01)
    assert desk.sizes() == [4, 1]


def test_a_row_too_many_is_refused_with_503_and_when_to_come_back() -> None:
    desk = Desk()
    for _ in range(8):
        desk.batcher.add(Query())
    with pytest.raises(Refused, match="too many rows") as refused:
        desk.batcher.add(Query())
    assert refused.value.status == 503
    assert refused.value.headers == b"Retry-After: 1\r\n"
    assert desk.batcher.num_rows == 8


def test_while_a_thread_works_the_next_batch_grows() -> None:
    desk = Desk(is_inline=False)
    desk.batcher.add(Query())
    desk.turn()
    for _ in range(3):
        desk.batcher.add(Query())
    desk.turn()
    assert desk.sizes() == [1]
    desk.batcher.release()
    desk.turn()
    assert desk.sizes() == [1, 3]


def test_an_expired_query_is_never_computed() -> None:
    desk = Desk()
    late, fresh = Query(), Query()
    desk.batcher.add(late)
    desk.now = 11.0
    desk.batcher.add(fresh)
    desk.turn()
    assert desk.batches == [[fresh]]
    assert late.is_expired
    assert desk.batcher.num_rows == 0


def test_a_sweep_expires_what_waits_behind_a_stuck_model() -> None:
    desk = Desk(is_inline=False)
    desk.batcher.add(Query())
    desk.turn()
    stuck = Query()
    desk.batcher.add(stuck)
    desk.now = 11.0
    desk.batcher.sweep()
    assert stuck.is_expired
    assert desk.batcher.num_rows == 0


def test_a_query_whose_client_has_gone_is_not_computed() -> None:
    desk = Desk()
    gone = Query()
    desk.batcher.add(gone)
    gone.is_abandoned = True
    desk.turn()
    assert desk.batches == []
