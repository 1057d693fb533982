"""Does what a page says, as a reader at a terminal would, in a folder of its own; no shell."""

import http.client
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

from tests.docs.pages import ROOT, Block

TIMEOUT_S = 120
_ANY = re.compile(r"\b[0-9a-f]{12,64}\b|[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
_SERVICES = ("serve", "ship", "watch", "report")

NOT_RUN = {
    "source .venv/bin/activate": "the tests run in the environment already",
    "python -m venv": "the tests run in an environment already",
    "pip install": "the extras it names are checked against pyproject.toml instead",
    "lint-imports": "`make test` runs it before the tests",
    "ruff ": "`make test` runs it before the tests",
    "mypy": "`make test` runs it before the tests",
    "python -m pytest": "the tests do not run themselves",
}
"""Beginnings of commands that are not run, and why."""


class Session:
    """A folder, the commands given in it, and an `everloop up` if one was started."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._up: subprocess.Popen[bytes] | None = None
        self._ports = {"8080": _free_port(), "8090": _free_port()}
        self._env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def play(self, block: Block) -> None:
        """Do what one block says."""
        if block.file:
            self._write(block)
        elif block.language == "bash":
            for line in _commands(block.lines):
                self.run(line, block.place)
        elif block.language == "console":
            self._compare(block)

    def run(self, line: str, place: str) -> str:
        """Run one command; returns what it wrote."""
        words = [self._with_ports(word) for word in shlex.split(line)]
        if any(line.startswith(start) for start in NOT_RUN):
            _check_extras(words)
            return ""
        program, *rest = words
        if program == "cd":
            self._folder = (self._folder / rest[0]).resolve()
            return ""
        if program == "make":
            return _check_target(rest[0])
        if program == "curl":
            return curl(rest)
        if program == "everloop" and rest[0] == "up":
            return self._start_up(rest)
        if program == "everloop" and (rest[0] in _SERVICES or "--follow" in rest):
            # It would run until it is stopped, and beside `up` there is nothing left for it to do.
            rest = rest if "--once" in rest else [rest[0], "--help"]
        done = subprocess.run(
            _full([program, *rest]), cwd=self._folder, env=self._env, timeout=TIMEOUT_S,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{place}: {line}\n{done.stdout}{done.stderr}"
        return done.stdout

    def end(self) -> None:
        """End what was started, as Ctrl-C would."""
        if self._up is not None:
            self._up.send_signal(signal.SIGINT)
            assert self._up.wait(timeout=60) == 0
            self._up = None

    def _write(self, block: Block) -> None:
        text = block.text
        if block.file == "everloop.toml":
            sections = tomllib.loads(text)
            for name, port in (("serve", "8080"), ("console", "8090")):
                if name not in sections:
                    text += f"\n[{name}]\nport = {self._ports[port]}\n"
        (self._folder / block.file).write_text(text, encoding="utf-8")

    def _compare(self, block: Block) -> None:
        for line, expected in _dialogue(block.lines):
            found = self.run(line, block.place)
            if expected:
                assert _masked(found) == _masked(expected), f"{block.place}: {line}\n{found}"

    def _with_ports(self, word: str) -> str:
        for port, free in self._ports.items():
            word = word.replace(port, str(free))
        return word

    def _start_up(self, rest: list[str]) -> str:
        self.end()
        self._up = subprocess.Popen(_full(["everloop", *rest]), cwd=self._folder, env=self._env)
        pause = threading.Event()
        for _ in range(600):
            assert self._up.poll() is None, "everloop up ended"
            if _is_ready(self._ports["8080"]):
                return ""
            pause.wait(0.05)
        raise AssertionError("everloop up did not serve within 30 s")


def curl(words: list[str]) -> str:
    """Do what `curl` would, to this machine alone: ``-d`` posts, ``-s`` changes nothing."""
    words = [word for word in words if word != "-s"]
    body = words.pop(words.index("-d") + 1) if "-d" in words else None
    (url,) = [word for word in words if word != "-d"]
    parts = urlsplit(url)
    assert parts.hostname == "127.0.0.1"
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    try:
        method = "GET" if body is None else "POST"
        connection.request(method, parts.path, None if body is None else body.encode())
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def _full(words: list[str]) -> list[str]:
    if words[0] == "everloop":
        return [sys.executable, "-m", "everloop", *words[1:]]
    return [sys.executable, *words[1:]] if words[0] == "python" else words


def _commands(lines: tuple[str, ...]) -> list[str]:
    """Join continued lines; leave out comments."""
    text = "\n".join(lines).replace("\\\n", " ")
    joined: list[str] = []
    for line in text.splitlines():
        if joined and not _is_closed(joined[-1]):
            joined[-1] += f"\n{line}"
        elif line.strip() and not line.startswith("#"):
            joined.append(line)
    return joined


def _is_closed(line: str) -> bool:
    return line.count("'") % 2 == 0


def _dialogue(lines: tuple[str, ...]) -> list[tuple[str, str]]:
    """Take a console block apart into commands and what each is said to write."""
    found: list[tuple[str, str]] = []
    for line in lines:
        if line.startswith("$ "):
            found.append((line[2:], ""))
        elif found and not _is_closed(found[-1][0]):
            found[-1] = (f"{found[-1][0]}\n{line}", "")
        else:
            command, output = found[-1]
            found[-1] = (command, f"{output}{line}\n")
    return found


def _masked(text: str) -> list[str]:
    """Put a sign in the place of numbers and digests, which differ from machine to machine."""
    return [" ".join(_ANY.sub("#", line).split()) for line in text.splitlines() if line.strip()]


def _check_target(name: str) -> str:
    # What `make demo` and `make test` do has tests of its own; to run them here would not end.
    assert f"\n{name}:" in (ROOT / "Makefile").read_text()
    return ""


def _check_extras(words: list[str]) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for word in words:
        for name in re.findall(r"\[([a-z,]+)\]", word):
            assert set(name.split(",")) <= extras["optional-dependencies"].keys()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _is_ready(port: int) -> bool:
    try:
        return '"ready":true' in curl([f"http://127.0.0.1:{port}/v2/health/ready"])
    except OSError:
        return False
