"""Turns the loop of a project once, and kills itself at a named step: a target of test_turn.py."""

import importlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

from everloop.loop.turn import run_turn
from everloop.loop.workspace import Workspace


def die_at(step: str) -> None:
    """Make the n-th call of a function the process's end: ``before|after module:name[.name] n``."""
    when, place, number = step.split()
    module, _, path = place.partition(":")
    *owners, name = path.split(".")
    owner: Any = importlib.import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    real = getattr(owner, name)
    left = [int(number)]

    def wrapped(*args: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] == 0 and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        found = real(*args, **options)
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    setattr(owner, name, wrapped)


if __name__ == "__main__":
    die_at(sys.argv[2])
    run_turn(Workspace.open(Path(sys.argv[1])))
