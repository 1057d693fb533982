"""The benchmark of this stage runs, and its two sides agree."""

import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "bench_ingest_to_clean.py"


def test_the_benchmark_runs_at_a_tiny_size() -> None:
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), "--rows", "2000", "--repeats", "1"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.count("ratio of CPU seconds") == 2
