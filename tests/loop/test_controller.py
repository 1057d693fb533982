from pathlib import Path
from typing import Any

import pytest

from everloop.loop.controller import Controller
from everloop.loop.events import Tick
from everloop.loop.trail import decision_lines
from everloop.loop.turn import run_turn
from everloop.registry.gc import collect
from everloop.registry.versions import Registry
from everloop.spec.errors import ConflictError, DataError
from everloop.testing import add_rows, make_rows
from tests.loop.conftest import Small


class KilledError(BaseException):
    """Ends a controller where a kill would."""


@pytest.fixture
def two(small: Small, upside_down: Small) -> Small:
    """A champion, and a second version."""
    small.run()
    assert small.add_version(upside_down) == 2
    return small


def test_a_person_promotes_and_undoes(two: Small) -> None:
    controller = Controller(two.ws)
    controller.promote_by_hand(2, "checked by eye")
    two.check()
    assert two.ws.registry.aliases() == {"champion": 2, "former": 1}
    assert two.ws.registry.moves()[-1].reason == "checked by eye"
    assert controller.roll_back_by_hand(None, "worse") == 1
    two.check()
    assert two.ws.registry.aliases() == {"champion": 1}
    assert two.decided()[2:] == ["promoted_by_hand", "rolled_back_by_hand"]
    with pytest.raises(DataError, match="no former champion to go back to"):
        controller.roll_back_by_hand(None, "again")
    assert controller.roll_back_by_hand(2, "that one after all") == 2
    two.check()


def test_only_versions_that_are_there_can_be_promoted(two: Small) -> None:
    with pytest.raises(DataError, match="no version 9; the newest is 2"):
        Controller(two.ws).promote_by_hand(9, "")
    two.ws.bundles.delete(two.ws.registry.version(2).bundle)
    with pytest.raises(DataError, match="version 2: its bundle was freed"):
        Controller(two.ws).promote_by_hand(2, "")
    assert two.ws.registry.aliases()["champion"] == 1


def test_promoting_the_champion_again_changes_nothing(two: Small) -> None:
    Controller(two.ws).promote_by_hand(1, "by mistake")
    assert len(two.ws.routes.history()) == 1
    assert two.ws.registry.aliases() == {"champion": 1}


def test_where_a_person_has_the_last_word_the_version_waits(tmp_path: Path) -> None:
    small = Small(tmp_path, settings={"gate": {"promote": "manual"}})
    report = small.run()
    assert (report.champion, small.decided()) == (None, ["retrain", "ask_person"])
    assert small.ws.routes.current() is None
    assert run_turn(small.reopen()).decisions == ()
    controller = Controller(small.ws)
    assert controller.state.waiting == 1
    controller.promote_by_hand(1, "asked")
    assert controller.state.waiting is None
    small.check()


@pytest.mark.parametrize("place", ["move", "publish"])
def test_what_was_decided_before_a_kill_is_carried_out_after_it(
    two: Small, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def die(*_: Any, **__: Any) -> None:
        raise KilledError

    owner = Registry if place == "move" else type(two.ws.routes)
    with monkeypatch.context() as patch:
        patch.setattr(owner, place, die)
        with pytest.raises(KilledError):
            Controller(two.ws).promote_by_hand(2, "then killed")
    again = Controller(two.reopen())
    assert again.state.champion == 2
    again.resume()
    two.check()
    assert len(two.ws.routes.history()) == 2
    again.resume()
    assert len(two.ws.routes.history()) == 2


def test_a_controller_follows_what_another_decided(two: Small) -> None:
    stale = Controller(two.ws)
    Controller(two.reopen()).promote_by_hand(2, "elsewhere")
    stale.catch_up()
    assert stale.state.champion == 2
    two.check()


def test_a_stale_controller_never_moves_the_route_back(two: Small) -> None:
    stale = Controller(two.ws)
    Controller(two.reopen()).promote_by_hand(2, "elsewhere")
    stale.resume()
    two.check()
    assert two.ws.registry.aliases()["champion"] == 2


def test_the_route_is_the_newest_decisions_when_two_write_at_once(
    two: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Controller(two.ws)
    real = Registry.move

    def overtaken(*args: Any, **options: Any) -> int:
        monkeypatch.setattr(Registry, "move", real)
        Controller(two.reopen()).roll_back_by_hand(1, "overtakes")
        return real(*args, **options)

    monkeypatch.setattr(Registry, "move", overtaken)
    slow.promote_by_hand(2, "slow")
    two.check()
    assert two.ws.registry.aliases()["champion"] == 1


def test_an_event_is_decided_on_the_newest_state(two: Small) -> None:
    stale = Controller(two.ws)
    Controller(two.reopen()).promote_by_hand(2, "elsewhere")
    stale.retrain_by_hand("mine")
    two.check()
    kinds = two.decided()
    assert kinds[2:4] == ["promoted_by_hand", "retrain"]
    assert stale.state.job is None


def test_one_who_always_loses_says_so(two: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    controller = Controller(two.ws)

    def lose(*_: Any, **__: Any) -> None:
        raise ConflictError("lost")

    monkeypatch.setattr(type(two.ws.decisions), "append", lose)
    with pytest.raises(ConflictError, match="decisions/small: other writers were first"):
        controller.promote_by_hand(2, "")


def test_time_alone_is_not_written_down(two: Small) -> None:
    controller = Controller(two.ws)
    before = len(two.ws.decisions.entries())
    controller.handle(Tick(**controller.moment()))
    assert len(two.ws.decisions.entries()) == before


def test_every_decision_says_why(two: Small) -> None:
    lines = decision_lines(two.ws)
    assert [line.kind for line in lines] == ["retrain", "promote"]
    assert lines[0].reasons == ("everloop run",)
    assert lines[1].version == 1
    assert any("gain over a constant predictor" in reason for reason in lines[1].reasons)
    assert all(line.time.startswith("2024-01-14") for line in lines)


def test_a_job_that_fails_at_the_gate_is_tried_again(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("no space")

    with monkeypatch.context() as patch:
        patch.setattr("everloop.loop.challenger.measure_gate", fail)
        with pytest.raises(DataError, match="OSError: no space"):
            small.run()
    assert small.run().champion == 1
    assert len(small.ws.registry.versions()) == 1
    small.check()


def test_after_many_versions_gc_leaves_all_that_is_served_or_may_come_back(small: Small) -> None:
    small.run()
    for number in range(6):
        add_rows(small.folder, make_rows(5, first=2000 + 5 * number))
        small.run()
    Controller(small.ws).promote_by_hand(3, "")
    Controller(small.ws).promote_by_hand(7, "")
    report = collect(small.ws.objects, small.ws.tables, "small", keep=1, dry_run=False)
    kept = {small.ws.registry.version(n).bundle for n in (3, 7)}
    assert kept <= set(report.kept_bundles)
    assert Controller(small.reopen()).roll_back_by_hand(None, "") == 3
    small.check()


def test_the_trail_keeps_why_a_person_decided(two: Small) -> None:
    controller = Controller(two.ws)
    other = 1 if controller.state.champion == 2 else 2
    controller.promote_by_hand(other, "the clinic asked for it")
    assert decision_lines(two.ws)[-1].reasons == ("the clinic asked for it",)
