"""How long until a command answers, and until a replica serves its first request?

    python benchmarks/bench_start.py --repeats 15

Each start is a process of its own, by turns with a Python that does nothing. A replica has started
when it answers that it is ready; the model is one of boosted trees, on this machine's disk.
"""

import argparse
import http.client
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from everloop.loop.turn import run_turn
from everloop.loop.workspace import Workspace
from everloop.testing import make_project

BARS_MS = {"import everloop": None, "everloop --help": 200, "a replica is ready": 1000}
LOOK_S, TIMEOUT_S = 0.002, 60.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--rows", type=int, default=5000, help="that the model learns from")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = make_project(Path(folder) / "small", num_rows=args.rows)
        run_turn(Workspace.open(project))
        starts: dict[str, Callable[[], float]] = {
            "python -c pass": lambda: end_of("-c", "pass"),
            "import everloop": lambda: end_of("-c", "import everloop"),
            "everloop --help": lambda: end_of("-m", "everloop", "--help"),
            "a replica is ready": lambda: ready(project),
        }
        found: dict[str, list[float]] = {name: [] for name in starts}
        for start in starts.values():
            start()  # the first reads what the disk has and the memory has not
        for _ in range(args.repeats):
            for name, start in starts.items():
                found[name].append(start() * 1000)
    report(found)


def end_of(*arguments: str) -> float:
    """Return the seconds that Python takes from start to end."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def ready(project: Path) -> float:
    """Return the seconds from the start of a replica until it answers that it is ready."""
    address = project / "address"
    address.unlink(missing_ok=True)
    command = ["-m", "everloop", "serve", "--port", "0", "--address-file", str(address)]
    look = threading.Event()
    began = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, *command, "--project", str(project)], stderr=subprocess.DEVNULL
    ) as process:
        try:
            while not is_ready(address):
                seconds = time.perf_counter() - began
                assert process.poll() is None, "the replica ended"
                assert seconds < TIMEOUT_S, "the replica does not get ready"
                look.wait(LOOK_S)
            return time.perf_counter() - began
        finally:
            process.terminate()


def is_ready(address: Path) -> bool:
    if not address.exists():
        return False
    connection = http.client.HTTPConnection(address.read_text().strip(), timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status == http.HTTPStatus.OK
    finally:
        connection.close()


def report(found: dict[str, list[float]]) -> None:
    plain = statistics.median(found["python -c pass"])
    print("| start | median | spread | over plain Python | bar |")
    print("|---|---|---|---|---|")
    for name, times in found.items():
        middle, bar = statistics.median(times), BARS_MS.get(name)
        held = "" if bar is None else f"{bar} ms: {'held' if middle <= bar else 'NOT HELD'}"
        print(
            f"| `{name}` | {middle:.0f} ms | {min(times):.0f} to {max(times):.0f} ms | "
            f"{middle - plain:+.0f} ms | {held} |"
        )
    print(f"\n{len(found['python -c pass'])} starts each, by turns, after one that is not counted.")


if __name__ == "__main__":
    main()
