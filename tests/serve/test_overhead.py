import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[2] / "benchmarks" / "bench_serve_overhead.py"


def test_the_overhead_benchmark_runs_at_a_tiny_size() -> None:
    command = [
        sys.executable,
        str(BENCH),
        "--rounds",
        "1",
        "--seconds",
        "0.1",
        "--connections",
        "2",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "| everloop replica |" in done.stdout
