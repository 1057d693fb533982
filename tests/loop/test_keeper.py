import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from everloop.loop.keeper import acting
from everloop.loop.turn import run_turn
from everloop.loop.workspace import LEASE_LENGTH_S, Workspace
from everloop.spec.errors import ConflictError, UnavailableError
from everloop.store.lease import Lease
from everloop.testing import ManualClock
from tests.loop.conftest import Small

HOLD = """
import sys, threading
from pathlib import Path
from everloop.loop.keeper import acting
from everloop.loop.workspace import Workspace
with acting(Workspace.open(Path(sys.argv[1]))):
    print("holding", flush=True)
    threading.Event().wait(60)
"""


def at_a_standstill(small: Small) -> Workspace:
    return Workspace.open(small.folder, clock=ManualClock())


def test_of_two_controllers_at_once_one_acts(small: Small) -> None:
    with (
        acting(small.ws),
        pytest.raises(ConflictError, match="another controller is at work on 'small'"),
    ):
        run_turn(at_a_standstill(small))
    assert small.decided() == []
    assert run_turn(at_a_standstill(small)).champion == 1


def test_one_that_was_killed_on_this_machine_is_not_waited_for(small: Small) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(small.folder)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"holding\n"
        os.kill(process.pid, signal.SIGKILL)
    clock = ManualClock()
    with acting(Workspace.open(small.folder, clock=clock)):
        assert clock.monotonic() == 0.0


def test_one_that_fell_silent_elsewhere_is_waited_for_as_long_as_the_lease(small: Small) -> None:
    assert small.ws.lease("elsewhere", is_alone=False).acquire() == 1
    clock = ManualClock()
    told: list[str] = []
    with acting(Workspace.open(small.folder, clock=clock), told.append):
        assert told == ["another controller is at work on 'small'; waiting 15 s for it"]
        assert LEASE_LENGTH_S <= clock.monotonic() <= LEASE_LENGTH_S + 1


def test_one_that_is_alive_elsewhere_is_left_alone(small: Small) -> None:
    other = small.ws.lease("elsewhere", is_alone=False)
    other.acquire()

    class Renewing(ManualClock):
        def wait(self, seconds: float) -> bool:
            assert other.renew()
            return super().wait(seconds)

    with (
        pytest.raises(ConflictError, match="another controller"),
        acting(Workspace.open(small.folder, clock=Renewing())),
    ):
        pass
    assert other.renew()


def test_a_stop_ends_the_wait(small: Small) -> None:
    small.ws.lease("elsewhere", is_alone=False).acquire()
    clock = ManualClock()
    clock.stop()
    with (
        pytest.raises(ConflictError),
        acting(Workspace.open(small.folder, clock=clock)),
    ):
        pass
    assert clock.monotonic() < 1


def test_what_was_held_is_free_again_even_after_an_error(small: Small) -> None:
    for _ in range(3):
        with pytest.raises(RuntimeError), acting(small.ws):
            raise RuntimeError
    assert small.ws.lease("elsewhere", is_alone=False).acquire() is not None


def test_a_lost_lease_and_a_store_that_is_away_are_noticed(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("everloop.loop.keeper.LEASE_LENGTH_S", 0.03)
    looked = threading.Event()
    answers = iter(["renewed", "away", "renewed"])

    def renew(_: Lease) -> bool:
        answer = next(answers, "lost")
        if answer == "away":
            raise UnavailableError(answer)
        if answer == "lost":
            looked.set()
        return answer == "renewed"

    monkeypatch.setattr(Lease, "renew", renew)
    with acting(small.ws) as keeper:
        assert looked.wait(10)
        keeper._thread.join(10)
        assert keeper.is_lost


def test_each_place_has_a_name_of_its_own(tmp_path: Path) -> None:
    names = []
    for folder in ("a", "b"):
        small = Small(tmp_path / folder, num_rows=10)
        for _ in range(2):
            with acting(small.ws):
                names.append((small.ws.local("controller") / "small").read_text())
    assert names[0] == names[1] != names[2] == names[3]
