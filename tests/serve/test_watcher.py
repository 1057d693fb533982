import io
import json
from typing import Any

import pytest

from everloop.registry.routes import Route, RouteTarget
from everloop.serve.events import EventLog
from everloop.serve.metrics import Metrics
from everloop.serve.watcher import RouteWatcher
from everloop.spec.errors import CorruptError, UnavailableError

A, B = "a" * 64, "b" * 64


def route(number: int, *targets: RouteTarget) -> Route:
    return Route(number=number, live=targets, reason="", at="")


def target(version: int, bundle: str = A, **more: Any) -> RouteTarget:
    return RouteTarget(version=version, bundle=bundle, **more)


class Scene:
    """A watcher whose store, loader and clock do as they are told."""

    def __init__(self) -> None:
        self.now = 0.0
        self.route: Route | Exception | None = None
        self.error: Exception | None = None
        self.loaded: list[int] = []
        self.served: list[Any] = []
        self.metrics = Metrics()
        self.stream = io.StringIO()
        self.watcher = RouteWatcher(
            routes=self,
            bundles=self,
            load=self.load,
            switch=self.served.append,
            metrics=self.metrics,
            events=EventLog("m", stream=self.stream),
            clock=lambda: self.now,
        )

    def current(self) -> Route | None:
        if isinstance(self.route, Exception):
            raise self.route
        return self.route

    def open(self, digest: str) -> Any:
        return digest

    def load(self, _: Any, version: int) -> Any:
        self.loaded.append(version)
        if self.error is not None:
            raise self.error
        return f"v{version}"

    def look(self, found: Any = None) -> None:
        if found is not None:
            self.route = found
        self.watcher.look()

    def actions(self) -> list[str]:
        return [json.loads(line)["event.action"] for line in self.stream.getvalue().splitlines()]


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_no_route_serves_nothing_and_the_first_one_is_taken(scene: Scene) -> None:
    scene.look()
    assert scene.served == []
    scene.look(route(1, target(1)))
    assert scene.served == ["v1"]


def test_the_same_route_and_the_same_version_are_loaded_once(scene: Scene) -> None:
    for number in (1, 1, 2):
        scene.look(route(number, target(1)))
    assert scene.loaded == [1]


def test_the_live_version_with_the_largest_share_serves(scene: Scene) -> None:
    targets = target(1, share=0.2), target(2, B, share=0.8), target(3, share=1.0, role="shadow")
    scene.look(route(1, *targets))
    assert scene.served == ["v2"]


def test_an_empty_route_ends_serving_and_the_same_version_may_come_back(scene: Scene) -> None:
    scene.look(route(1, target(1)))
    scene.look(route(2))
    scene.look(route(3, target(1)))
    assert scene.served == ["v1", None, "v1"]


def test_a_store_that_is_away_keeps_the_model_and_is_told_once(scene: Scene) -> None:
    scene.look(route(1, target(1)))
    for _ in range(3):
        scene.look(UnavailableError("no answer"))
    scene.look(route(2, target(2)))
    assert scene.served == ["v1", "v2"]
    assert scene.actions() == ["model-swapped", "store-away", "store-back", "model-swapped"]
    assert scene.metrics.polls.at("failure").value == 3


def test_a_bad_bundle_is_tried_again_later_and_later(scene: Scene) -> None:
    scene.look(route(1, target(1)))
    scene.error = CorruptError("changed")
    tried = []
    scene.look(route(2, target(2)))
    for second in range(1, 32):
        before = len(scene.loaded)
        scene.now = float(second)
        scene.look()
        tried += [second] * (len(scene.loaded) - before)
    assert tried == [1, 3, 7, 15, 31]
    assert scene.served == ["v1"]
    scene.error = None
    scene.look(route(3, target(3)))
    assert scene.served == ["v1", "v3"]
