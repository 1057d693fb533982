"""The demo, seven weeks of it, as a stranger would run it."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

DEMO = Path(__file__).parents[2] / "examples" / "flights" / "demo.py"
TIMEOUT_S = 300


def free_port() -> int:
    """Return a port that is free, and whose neighbour for the pages is free too."""
    for _ in range(100):
        with socket.socket() as server, socket.socket() as pages:
            server.bind(("127.0.0.1", 0))
            port: int = server.getsockname()[1]
            try:
                pages.bind(("127.0.0.1", port + 10))
            except (OSError, OverflowError):
                continue
            return port
    raise AssertionError("no two free ports")


def test_the_fast_demo_fails_no_request_and_promotes_a_new_version(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(DEMO), "--fast", "--out", str(tmp_path / "out"),
         "--port", str(free_port())],
        capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    reports = tmp_path / "out" / ".everloop" / "reports"
    summary = json.loads((reports / "summary.json").read_text())
    assert summary["requests"] > 2000
    assert summary["requests_failed"] == 0
    assert summary["retrains"] >= 1
    assert summary["promotions"] >= 2  # the first model, and one at least that took its place
    assert summary["rollbacks"] >= 0
    assert min(summary["auc_frozen"], summary["auc_everloop"]) > 0.65
    assert max(summary["logloss_frozen"], summary["logloss_everloop"]) < 0.5
    assert 0 < summary["p50_ms"] <= summary["p99_ms"]
    assert summary["holds"] >= 0
    assert summary["seconds"] > 0
    page = (reports / "report.html").read_text()
    assert "<svg" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_ctrl_c_ends_the_demo_in_a_sentence(tmp_path: Path) -> None:
    command = [sys.executable, str(DEMO), "--fast", "--out", str(tmp_path), "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        while said and "Making the first model" not in said:
            said = process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)
        rest = process.communicate(timeout=TIMEOUT_S)[0]
    assert process.returncode == 130
    assert rest.endswith("--- Stopped; the next demo begins anew\n")


def test_a_demo_whose_port_is_taken_ends_without_a_traceback(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = subprocess.run(
            [sys.executable, str(DEMO), "--fast", "--out", str(tmp_path),
             "--port", str(taken.getsockname()[1])],
            capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert "serve.port: cannot listen on 127.0.0.1 port" in done.stderr
    assert "Traceback" not in done.stderr
