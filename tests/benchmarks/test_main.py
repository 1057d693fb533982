"""Every benchmark is run by `make bench`, and runs at a tiny size, so that none rots."""

import subprocess
import sys
from pathlib import Path

from benchmarks.__main__ import BENCHES, FOLDER, Bench, results_path

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 180


def run_tiny(out: Path, *questions: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "benchmarks", "--tiny", "--out", str(out)]
    return subprocess.run(
        [*command, "--only", *questions], cwd=ROOT, capture_output=True, text=True,
        timeout=TIMEOUT_S, check=False,
    )  # fmt: skip


def test_every_benchmark_is_in_the_table() -> None:
    found = {path.stem.removeprefix("bench_") for path in FOLDER.glob("bench_*.py")}
    assert found == {bench.question for bench in BENCHES}


# Those of ingest and serve are run by the tests of their rooms as well, which know what to expect.
def test_the_replay_of_flights_runs_at_a_tiny_size_and_leaves_its_results(tmp_path: Path) -> None:
    done = run_tiny(tmp_path, "flights_replay")
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = tmp_path.glob("flights_replay_*.md")
    text = path.read_text()
    assert "`python benchmarks/bench_flights_replay.py --seeds 0 --weeks 1`" in text
    assert "| everloop |" in text
    assert "polars " in text


def test_starts_are_measured_at_a_tiny_size(tmp_path: Path) -> None:
    done = run_tiny(tmp_path, "start")
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = tmp_path.glob("start_*.md")
    text = path.read_text()
    for name in ("python -c pass", "import everloop", "everloop --help", "a replica is ready"):
        assert f"| `{name}` |" in text


def test_a_results_file_of_this_month_is_kept(tmp_path: Path) -> None:
    bench = Bench(question="speed", full=(), tiny=())
    first = results_path(bench, tmp_path)
    first.touch()
    second = results_path(bench, tmp_path)
    assert second != first
    assert second.stem.startswith(first.stem)


def test_an_unknown_question_is_refused() -> None:
    done = run_tiny(Path("unused"), "speed_of_light")
    assert done.returncode == 2
    assert "serve_overhead" in done.stderr
