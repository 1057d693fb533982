"""A whole turn over every kind of store: what was trained is what a replica would open."""

from pathlib import Path

import pytest

from everloop.loop.turn import run_turn
from everloop.loop.workspace import Workspace
from everloop.registry.routes import Routes
from everloop.spec.file import load_project
from everloop.spec.project import StoreSpec
from everloop.store.bundles import Bundles
from everloop.store.objects import Objects
from everloop.testing import make_project


@pytest.fixture
def ws(tmp_path: Path, store_spec: StoreSpec) -> Workspace:
    folder = make_project(tmp_path / "project")
    project = load_project(folder).model_copy(update={"store": store_spec})
    return Workspace(project, folder)


def test_a_turn_ends_in_a_route_whose_bundle_opens(ws: Workspace) -> None:
    assert run_turn(ws).champion == 1
    objects = Objects.open(ws.project.store, ws.root)
    route = Routes(objects, ws.model).current()
    assert route is not None
    bundle = Bundles(objects).open(route.live[0].bundle)
    assert bundle.manifest.name == ws.model


def test_a_second_turn_does_nothing_anew(ws: Workspace) -> None:
    run_turn(ws)
    again = run_turn(ws)
    assert (again.champion, again.stages, again.decisions) == (1, (), ())
