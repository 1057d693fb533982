from pathlib import Path

import pytest
from pydantic import ValidationError

from everloop.registry.routes import Routes, RouteTarget
from everloop.spec.errors import ConflictError, CorruptError
from everloop.spec.project import StoreSpec
from everloop.store.log import Log
from everloop.store.objects import Objects

BUNDLE = "a" * 64


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects.open(StoreSpec(url="state"), tmp_path)


@pytest.fixture
def routes(objects: Objects) -> Routes:
    return Routes(objects, "flights")


def live(version: int, share: float = 1.0) -> RouteTarget:
    return RouteTarget(version=version, bundle=BUNDLE, share=share)


def test_there_is_no_route_before_the_first(routes: Routes) -> None:
    assert routes.current() is None


def test_a_replica_sees_each_new_route(routes: Routes, objects: Objects) -> None:
    replica = Routes(objects, "flights")
    for number in (1, 2, 3):
        route = routes.publish([live(number)], reason="promote")
        assert replica.current() == route
        assert (route.number, route.live, route.reason) == (number, (live(number),), "promote")
    assert [route.number for route in replica.history()] == [1, 2, 3]


def test_a_shadow_takes_no_share_of_the_answers(routes: Routes) -> None:
    shadow = RouteTarget(version=2, bundle=BUNDLE, share=0.1, role="shadow")
    assert routes.publish([live(1), shadow], reason="watch").live == (live(1), shadow)


def test_three_thirds_are_one(routes: Routes) -> None:
    routes.publish([live(1, 1 / 3), live(2, 1 / 3), live(3, 1 / 3)], reason="split")


def test_a_route_may_be_empty_so_that_nothing_is_served(routes: Routes) -> None:
    assert routes.publish([], reason="stop").live == ()


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([live(1, 0.5)], "add up to 0.5, expected 1"),
        ([live(1), live(2, 0.1)], "add up to 1.1"),
        ([live(1, 0.5), live(1, 0.5)], "named twice: 1, 1"),
        ([RouteTarget(version=1, bundle=BUNDLE, role="shadow")], "add up to 0"),
    ],
)
def test_shares_that_make_no_whole_are_refused(
    routes: Routes, targets: list[RouteTarget], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        routes.publish(targets, reason="x")
    assert routes.current() is None


def test_a_publisher_that_knows_an_older_route_conflicts(routes: Routes, objects: Objects) -> None:
    routes.publish([live(1)], reason="first", expect=0)
    with pytest.raises(ConflictError, match="the last entry is 1, expected 0"):
        Routes(objects, "flights").publish([live(2)], reason="late", expect=0)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_is_between_zero_and_one(share: float) -> None:
    with pytest.raises(ValidationError):
        live(1, share)


@pytest.mark.parametrize(
    "record", [{}, {"live": [{"version": 1}], "reason": ""}, {"live": [], "reason": "", "x": 1}]
)
def test_a_record_that_is_no_route_is_corrupt(
    routes: Routes, objects: Objects, record: dict[str, object]
) -> None:
    Log(objects, "routes/flights").append(record)  # type: ignore[arg-type]
    with pytest.raises(CorruptError, match="route 1"):
        routes.current()
