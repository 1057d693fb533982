import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from everloop.runtime.clock import SystemClock
from everloop.runtime.local import Service, Supervisor, end_with_parent

TARGET = Path(__file__).parent / "service_target.py"
WAIT_S = 20.0
FOREVER = "import threading; threading.Event().wait(60)"
STUBBORN = (
    f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); {FOREVER}"
)


def eventually(check: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(int(WAIT_S / 0.02)):
        if check():
            return
        pause.wait(0.02)
    raise AssertionError("did not happen in time")


def python(name: str, code: str) -> Service:
    return Service(name=name, command=[sys.executable, "-c", code])


class Running:
    """A supervisor at work in a thread."""

    def __init__(self, *services: Service, drain_s: float = 10.0) -> None:
        self.clock = SystemClock()
        self.told: list[str] = []
        self.supervisor = Supervisor(services, self.clock, self.told.append, drain_s=drain_s)
        self.code: int | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        self.code = self.supervisor.run()

    def stop(self) -> int | None:
        self.clock.stop()
        self.thread.join(WAIT_S)
        assert not self.thread.is_alive()
        return self.code


@contextmanager
def running(*services: Service, drain_s: float = 10.0) -> Iterator[Running]:
    one = Running(*services, drain_s=drain_s)
    try:
        yield one
    finally:
        one.stop()


def is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_a_service_that_was_killed_is_started_again() -> None:
    with running(python("one", FOREVER), python("two", FOREVER)) as up:
        eventually(lambda: len(up.supervisor.pids) == 2)
        before = up.supervisor.pids
        os.kill(before["one"], signal.SIGKILL)
        eventually(lambda: up.supervisor.pids.get("one", before["one"]) != before["one"])
        assert up.supervisor.pids["two"] == before["two"]
        assert up.told == ["one ended with SIGKILL; starting it again in 0.2 s"]
        last = up.supervisor.pids
    assert up.code == 0
    assert not any(map(is_alive, last.values()))


def test_a_service_that_dies_again_and_again_is_started_ever_more_slowly() -> None:
    with running(python("one", "raise SystemExit(1)")) as up:
        eventually(lambda: len(up.told) >= 3)
    assert [text.split("again in ")[1] for text in up.told[:3]] == ["0.2 s", "0.4 s", "0.8 s"]
    assert up.told[0].startswith("one ended with exit code 1")


def test_wrong_settings_end_everything_at_once() -> None:
    with running(python("one", FOREVER), python("two", "raise SystemExit(2)")) as up:
        up.thread.join(WAIT_S)
        assert up.code == 2
        assert up.told[-1] == "two cannot run with these settings; stopping"
        assert up.supervisor.pids == {}


def test_a_service_that_will_not_end_is_killed() -> None:
    with running(python("one", STUBBORN), drain_s=0.2) as up:
        eventually(lambda: "one" in up.supervisor.pids)
        pid = up.supervisor.pids["one"]
        eventually(lambda: _ignores_sigterm(pid))
    assert up.told == ["one did not end in 0.2 s; killing it"]
    assert not is_alive(pid)


def _ignores_sigterm(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    (ignored,) = [line.split()[1] for line in status.splitlines() if line.startswith("SigIgn")]
    return bool(int(ignored, 16) >> (signal.SIGTERM - 1) & 1)


def test_a_command_that_is_not_there_is_an_error() -> None:
    supervisor = Supervisor(
        [Service(name="one", command=["/nowhere/at-all"])], SystemClock(), lambda _: None
    )
    with pytest.raises(FileNotFoundError, match="/nowhere/at-all"):
        supervisor.run()


def started(folder: Path) -> tuple["subprocess.Popen[bytes]", list[int]]:
    """Start a supervisor of two services as a process; returns their numbers too."""
    process = subprocess.Popen([sys.executable, str(TARGET), "supervise", str(folder)])
    eventually(lambda: len(pids(folder)) == 2)
    return process, pids(folder)


def notes(folder: Path) -> list[str]:
    path = folder / "notes"
    return path.read_text().splitlines() if path.exists() else []


def pids(folder: Path) -> list[int]:
    return [int(line.split()[-1]) for line in notes(folder) if " began " in line]


def test_ctrl_c_ends_the_services_last_started_first(tmp_path: Path) -> None:
    process, children = started(tmp_path)
    process.send_signal(signal.SIGINT)
    assert process.wait(WAIT_S) == 0
    ended = [line for line in notes(tmp_path) if "ended" in line]
    assert ended == ["second ended", "first ended", "supervisor ended with 0"]
    assert not any(map(is_alive, children))


def test_a_killed_supervisor_takes_its_services_along(tmp_path: Path) -> None:
    process, children = started(tmp_path)
    process.kill()
    process.wait(WAIT_S)
    eventually(lambda: not any(map(is_alive, children)))
    assert sorted(n for n in notes(tmp_path) if n.endswith("ended")) == [
        "first ended",
        "second ended",
    ]


def test_without_a_supervisor_nothing_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EVERLOOP_PARENT", raising=False)
    before = threading.active_count()
    end_with_parent()
    assert threading.active_count() == before


def test_what_a_service_starts_is_not_the_supervisors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERLOOP_PARENT", str(os.getppid()))
    end_with_parent()
    assert "EVERLOOP_PARENT" not in os.environ
