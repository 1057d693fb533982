"""Looks at the route, and loads what it names before anything is switched.

All of it happens in a thread of its own: a slow store, a large download or a long warm-up never
keeps the event loop waiting, and a store that is away keeps the model that serves now.
"""

import threading
from collections.abc import Callable
from typing import Protocol

from everloop.registry.routes import Route, RouteTarget
from everloop.serve.events import EventLog
from everloop.serve.metrics import Metrics
from everloop.serve.model import Model
from everloop.spec.errors import EverloopError
from everloop.store.bundles import Bundle

_FIRST_RETRY_S = 1.0
_LAST_RETRY_S = 60.0

Load = Callable[[Bundle, int], Model]


class CurrentRoute(Protocol):
    """Where the route stands."""

    def current(self) -> Route | None:
        """Return the newest route; None before the first."""


class OpenBundle(Protocol):
    """Where bundles lie."""

    def open(self, digest: str) -> Bundle:
        """Return a verified bundle."""


class RouteWatcher:
    """Follows the route; calls `switch` with each new model once it is loaded and warm.

    A route without a live version switches to None.
    """

    def __init__(  # noqa: PLR0913 - all keyword-only, each an injected edge
        self,
        *,
        routes: CurrentRoute,
        bundles: OpenBundle,
        load: Load,
        switch: Callable[[Model | None], None],
        metrics: Metrics,
        events: EventLog,
        clock: Callable[[], float],
    ) -> None:
        self._routes = routes
        self._bundles = bundles
        self._load = load
        self._switch = switch
        self._metrics = metrics
        self._events = events
        self._clock = clock
        self._served: tuple[int, str] | None = None
        self._number = 0
        self._failed: tuple[int, str] | None = None
        self._retry_at = 0.0
        self._retry_s = _FIRST_RETRY_S
        self._is_away = False

    def look(self) -> None:
        """Look once; switch if the route names another model and that model is sound."""
        try:
            route = self._routes.current()
        except (EverloopError, OSError) as error:
            self._store_away(error)
            return
        self._store_back()
        if route is None or route.number == self._number:
            return
        target = _live(route)
        if target is None:
            self._number, self._served = route.number, None
            self._switch(None)
            self._events.write("warning", "route-empty", f"route {route.number} serves nothing")
        elif (target.version, target.bundle) == self._served:
            self._number = route.number
        else:
            self._try(route.number, target)

    def _try(self, number: int, target: RouteTarget) -> None:
        wanted = (target.version, target.bundle)
        if wanted == self._failed and self._clock() < self._retry_at:
            return
        try:
            bundle = self._bundles.open(target.bundle)
            model = self._load(bundle, target.version)
        except (EverloopError, OSError, KeyError, ValueError, MemoryError) as error:
            self._keep_old(wanted, error)
            return
        self._served, self._number, self._failed = wanted, number, None
        self._metrics.swaps.at("success").value += 1
        self._switch(model)
        self._events.write(
            "info", "model-swapped", f"version {target.version} serves", version=str(target.version)
        )

    def _keep_old(self, wanted: tuple[int, str], error: Exception) -> None:
        self._retry_s = (
            min(2 * self._retry_s, _LAST_RETRY_S) if wanted == self._failed else _FIRST_RETRY_S
        )
        self._failed, self._retry_at = wanted, self._clock() + self._retry_s
        self._metrics.swaps.at("failure").value += 1
        kept = f"version {self._served[0]} is kept" if self._served else "nothing is served yet"
        message = f"version {wanted[0]} was not taken; {kept}"
        self._events.write("error", "swap-failed", message, error=error, version=str(wanted[0]))

    def _store_away(self, error: Exception) -> None:
        self._metrics.polls.at("failure").value += 1
        if not self._is_away:
            message = "the store does not answer; the model is kept"
            self._events.write("warning", "store-away", message, error=error)
        self._is_away = True

    def _store_back(self) -> None:
        self._metrics.polls.at("success").value += 1
        if self._is_away:
            self._events.write("info", "store-back", "the store answers again")
        self._is_away = False

    def follow(self, stop: threading.Event, poll_s: float) -> None:
        """Look again and again until told to stop."""
        while not stop.is_set():
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - a thread that died would freeze the route unseen
                self._events.write("error", "watch-failed", "a look failed", error=error)
            stop.wait(poll_s)


def _live(route: Route) -> RouteTarget | None:
    live = [target for target in route.live if target.role == "live"]
    return max(live, key=lambda target: target.share, default=None)
