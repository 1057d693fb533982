from pathlib import Path

import pytest

from everloop.spec.project import StoreSpec
from everloop.store.lease import Lease
from everloop.store.objects import Objects


class Clock:
    """A process's own seconds."""

    def __init__(self, now_s: float = 0.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects.open(StoreSpec(url="state"), tmp_path)


def lease(objects: Objects, holder: str, clock: Clock) -> Lease:
    return Lease(objects, "leases/ingest", holder=holder, length_s=10.0, clock=clock)


def test_a_free_lease_is_taken_by_one(objects: Objects) -> None:
    first, second = lease(objects, "a", Clock()), lease(objects, "b", Clock())
    assert (first.acquire(), second.acquire()) == (1, None)
    assert first.acquire() == 1


def test_a_silent_holder_is_overtaken_once_it_was_watched_for_the_length(objects: Objects) -> None:
    clock = Clock()
    first, second = lease(objects, "a", Clock()), lease(objects, "b", clock)
    assert first.acquire() == 1
    assert second.acquire() is None
    clock.now_s = 9.9
    assert second.acquire() is None
    clock.now_s = 10.0
    assert second.acquire() == 2
    assert first.renew() is False
    assert first.acquire() is None


def test_a_holder_that_renews_keeps_the_lease(objects: Objects) -> None:
    clock = Clock()
    first, second = lease(objects, "a", Clock()), lease(objects, "b", clock)
    first.acquire()
    for _ in range(20):
        clock.now_s += 9.0
        assert first.renew() is True
        assert second.acquire() is None


@pytest.mark.parametrize("jump_s", [-1e9, 1e9])
def test_a_clock_far_from_the_holders_does_no_harm(objects: Objects, jump_s: float) -> None:
    holder, clock = Clock(), Clock(jump_s)
    first, second = lease(objects, "a", holder), lease(objects, "b", clock)
    first.acquire()
    assert second.acquire() is None
    holder.now_s += jump_s
    assert first.renew() is True
    clock.now_s += 9.0
    assert second.acquire() is None


def test_a_watcher_that_looks_once_after_a_long_pause_takes_nothing(objects: Objects) -> None:
    clock = Clock()
    first, second = lease(objects, "a", Clock()), lease(objects, "b", clock)
    first.acquire()
    second.acquire()
    first.renew()
    clock.now_s = 1000.0
    assert second.acquire() is None


def test_a_released_lease_is_free_at_once_and_its_number_rises(objects: Objects) -> None:
    first, second = lease(objects, "a", Clock()), lease(objects, "b", Clock())
    first.acquire()
    first.release()
    assert first.renew() is False
    assert second.acquire() == 2
    first.release()
    assert second.renew() is True


def test_one_of_two_that_take_over_at_once_wins(objects: Objects) -> None:
    clock = Clock()
    lease(objects, "a", Clock()).acquire()
    others = [lease(objects, name, clock) for name in "bcd"]
    assert [other.acquire() for other in others] == [None, None, None]
    clock.now_s = 10.0
    assert [other.acquire() for other in others] == [2, None, None]


def test_old_epochs_are_forgotten(objects: Objects) -> None:
    for number in range(1, 6):
        one = lease(objects, f"holder-{number}", Clock())
        assert one.acquire() == number
        one.release()
    paths = [info.path for info in objects.list("leases")]
    assert [path for path in paths if "renewed" not in path] == [
        "leases/ingest/00000004.json",
        "leases/ingest/00000005.json",
    ]


def test_a_holder_that_is_known_to_be_gone_is_not_waited_for(objects: Objects) -> None:
    assert lease(objects, "here/a", Clock()).acquire() == 1
    elsewhere = Lease(
        objects,
        "leases/ingest",
        holder="there/b",
        length_s=10.0,
        clock=Clock(),
        is_gone=lambda holder: holder.startswith("there/"),
    )
    assert elsewhere.acquire() is None
    here = Lease(
        objects,
        "leases/ingest",
        holder="here/c",
        length_s=10.0,
        clock=Clock(),
        is_gone=lambda holder: holder.startswith("here/"),
    )
    assert here.acquire() == 2
