"""Small projects, and the real command line run on them in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

TIMEOUT_S = 120
NUM_ROWS = 400

PROJECT = """
[project]
name = "shop"

[[sources]]
path = "data/*.csv"
time = "at"
key = ["id"]
label = "bought"

[columns.price]
required = true
min = 0

[train.boosting]
num_trees = 5
min_leaf_rows = 5

[gate]
min_rows = 10

[serve]
port = 0

[console]
port = 0
"""


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def everloop(
    *args: str, cwd: Path, env: dict[str, str] | None = None, python: Sequence[str] = ()
) -> Done:
    """Run the command line; whatever happens, a person sees no traceback."""
    command = [sys.executable, *python, "-m", "everloop", *args]
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    found = Done(done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in found.text, found.text
    assert "Internal error" not in found.text, found.text
    return found


def rows(count: int = NUM_ROWS, *, start: int = 0) -> str:
    """Return rows of a shop as CSV: cheap things in good colours are bought more often."""
    rng = np.random.default_rng(7 + start)
    lines = ["id,at,price,colour,bought"]
    for i in range(start, start + count):
        price, colour = round(float(rng.uniform(1, 9)), 2), str(rng.choice(["red", "blue"]))
        bought = int(rng.uniform(4, 6) > price + (colour == "red"))
        at = f"2026-{1 + i // 672:02}-{1 + i // 24 % 28:02}T{i % 24:02}:00:00Z"
        lines.append(f"{i},{at},{price},{colour},{bought}")
    return "\n".join(lines) + "\n"


def make_project(folder: Path, *, text: str = PROJECT, data: str | None = None) -> Path:
    """Lay out a project with its rows."""
    (folder / "data").mkdir(parents=True)
    (folder / "everloop.toml").write_text(text)
    (folder / "data" / "a.csv").write_text(rows() if data is None else data)
    return folder


def edit(path: Path, old: str, new: str) -> None:
    """Replace a part of a file, which must be there."""
    text = path.read_text()
    assert old in text, f"{path} lacks {old!r}"
    path.write_text(text.replace(old, new))


def change(column: str, value: str, data: str = "") -> str:
    """Return rows with one column set to a value throughout."""
    head, *lines = (data or rows()).splitlines()
    at = head.split(",").index(column)
    cells = [line.split(",") for line in lines]
    return "\n".join([head, *(",".join([*c[:at], value, *c[at + 1 :]]) for c in cells)]) + "\n"


@contextmanager
def running(*args: str, cwd: Path) -> "Iterator[subprocess.Popen[str]]":
    """Keep a command running; it is killed at the end if it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "everloop", *args],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=TIMEOUT_S)


def ended(process: "subprocess.Popen[str]", *, within_s: float) -> bool:
    """Wait a little for a process to end."""
    try:
        process.wait(timeout=within_s)
    except subprocess.TimeoutExpired:
        return False
    return True
