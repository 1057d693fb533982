"""Run every benchmark in turn, each alone in a process of its own, and keep what it found.

    python -m benchmarks                            what `make bench` does; takes hours
    python -m benchmarks --only serve_overhead
    python -m benchmarks --tiny --out /tmp/bench    seconds; shows that they run, measures nothing

A results file has the command, the machine, the versions and the date. A file of this month is
kept; the new one then bears the day, so that a measurement is replaced by hand and knowingly.
"""

import argparse
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results"
PACKAGES = (
    "everloop", "numpy", "polars", "pyarrow", "deltalake", "lightgbm", "torch", "onnx",
    "onnxruntime", "httptools", "msgspec", "uvloop", "uvicorn", "starlette",
)  # fmt: skip
BUSY_LOAD = 0.5


@dataclass(frozen=True, kw_only=True)
class Bench:
    """One benchmark.

    Attributes:
        question: `bench_<question>.py` answers it.
        full: Arguments of a run that counts.
        tiny: Arguments of a run of seconds, for the tests.
        writes_itself: Whether a full run writes its own results file.
    """

    question: str
    full: tuple[str, ...]
    tiny: tuple[str, ...]
    writes_itself: bool = False

    @property
    def script(self) -> Path:
        """The program."""
        return FOLDER / f"bench_{self.question}.py"


BENCHES = (
    Bench(question="start", full=("--repeats", "15"), tiny=("--repeats", "1", "--rows", "1000")),
    Bench(
        question="ingest_to_clean",
        full=("--rows", "1000000", "--repeats", "5"),
        tiny=("--rows", "2000", "--repeats", "1"),
    ),
    Bench(
        question="serve_overhead",
        full=("--rounds", "5", "--seconds", "1.5"),
        tiny=("--rounds", "1", "--seconds", "0.1", "--connections", "2"),
    ),
    Bench(
        question="flights_replay",
        full=("--seeds", "0", "1", "2", "--write"),
        tiny=("--seeds", "0", "--weeks", "1"),
        writes_itself=True,
    ),
)


def main() -> None:
    """Run what the command line asks for; exit 1 if a benchmark failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    questions = [bench.question for bench in BENCHES]
    parser.add_argument("--list", action="store_true", help="name the benchmarks and end")
    parser.add_argument("--only", nargs="+", choices=questions, default=questions)
    parser.add_argument("--tiny", action="store_true", help="run each at a tiny size")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where results files go")
    options = parser.parse_args()
    chosen = [bench for bench in BENCHES if bench.question in options.only]
    if options.list:
        for bench in chosen:
            print(f"{bench.question:18} {about(bench)}")
        return
    warn_if_busy()
    failed = [b.question for b in chosen if not run(b, is_tiny=options.tiny, out=options.out)]
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def about(bench: Bench) -> str:
    """Return the question in words: the first line of the program."""
    first = bench.script.read_text(encoding="utf-8").partition("\n")[0]
    return first.strip('"')


def run(bench: Bench, *, is_tiny: bool, out: Path) -> bool:
    """Run one benchmark and keep what it wrote; return whether it ended well."""
    arguments = bench.tiny if is_tiny else bench.full
    print(f"--- {about(bench)}", flush=True)
    command = [sys.executable, str(bench.script), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout, flush=True)
    if done.returncode:
        print(f"{bench.script.name} ended with {done.returncode}", file=sys.stderr)
        return False
    if is_tiny or not bench.writes_itself:
        out.mkdir(parents=True, exist_ok=True)
        path = results_path(bench, out)
        path.write_text(results_text(bench, arguments, done.stdout), encoding="utf-8")
        print(f"--- {path}", flush=True)
    return True


def results_path(bench: Bench, out: Path) -> Path:
    """Name the results file after question, hardware and month, or the day if that is taken."""
    now = datetime.now(tz=UTC)
    start = f"{bench.question}_{os.cpu_count()}core"
    path = out / f"{start}_{now:%Y%m}.md"
    return out / f"{start}_{now:%Y%m%d}.md" if path.exists() else path


def results_text(bench: Bench, arguments: Sequence[str], output: str) -> str:
    """Write a results file."""
    command = " ".join(["python", f"benchmarks/{bench.script.name}", *arguments])
    return f"""# {about(bench)}

`{command}`, {datetime.now(tz=UTC):%d %B %Y}, {platform.system()} on {platform.machine()}
({processor()}), {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end, Python
{platform.python_version()}, {", ".join(versions())}.

{output.strip()}
"""


def processor() -> str:
    """Return the processor's name, where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown processor"


def versions() -> list[str]:
    """Return the packages that a number may hang on, with their versions."""
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found


def warn_if_busy() -> None:
    """Say so if other work would be measured along."""
    load = os.getloadavg()[0]
    if load > BUSY_LOAD * (os.cpu_count() or 1):
        print(f"The machine is busy (load {load:.1f}); wall times will say little.", flush=True)


if __name__ == "__main__":
    main()
