"""A service, or a supervisor of two of them, that notes in a file what happens to it."""

import os
import signal
import sys
from pathlib import Path

from everloop.runtime.clock import SystemClock
from everloop.runtime.local import Service, Supervisor, end_with_parent


def note(folder: Path, text: str) -> None:
    with (folder / "notes").open("a") as file:
        file.write(f"{text}\n")


def serve(folder: Path, name: str) -> None:
    clock = SystemClock()
    signal.signal(signal.SIGTERM, lambda *_: clock.stop())
    end_with_parent()
    note(folder, f"{name} began {os.getpid()}")
    clock.wait(60)
    note(folder, f"{name} ended")


def supervise(folder: Path) -> None:
    clock = SystemClock()
    signal.signal(signal.SIGINT, lambda *_: clock.stop())
    services = [
        Service(name=name, command=[sys.executable, __file__, "serve", str(folder), name])
        for name in ("first", "second")
    ]
    code = Supervisor(services, clock, lambda text: note(folder, text)).run()
    note(folder, f"supervisor ended with {code}")


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(Path(sys.argv[2]), sys.argv[3])
    else:
        supervise(Path(sys.argv[2]))
