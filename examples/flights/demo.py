"""The whole loop on a year of flights: made, served, going stale, remade, judged, swapped, undone.

    python examples/flights/demo.py            the year; under 4 minutes on two cores
    python examples/flights/demo.py --fast     seven weeks of it

January and February are history. The rest of the year is sent, in order, to the running server;
`everloop up` does everything else. A report, a table and `summary.json` say what came of it.
"""

import argparse
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
from outcome import read_outcome
from prepare import history, prepare
from replay import Client, Tally, replay

from everloop.console.report import write_report
from everloop.console.summary import text_table
from everloop.loop.watch import read_status
from everloop.loop.workspace import Workspace
from everloop.runtime.clock import SystemClock
from everloop.validate import join

HERE = Path(__file__).parent
START = date(2013, 3, 1)
FAST_WEEKS = 7
PATIENCE_S = 120.0
# On this day somebody overrules the loop and puts the first model back, to show what follows.
MISTAKE = datetime(2013, 7, 8, tzinfo=UTC)


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fast", action="store_true", help=f"only {FAST_WEEKS} weeks")
    parser.add_argument("--out", type=Path, default=Path("out/flights"), help="a new folder")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--keep-running", action="store_true", help="serve on after the report")
    options = parser.parse_args()
    started = time.monotonic()
    folder = lay_out(options.out, options.port)
    rows = history(folder / "data", START)
    if options.fast:
        rows = rows.filter(pl.col("scheduled") < pl.lit(_moment(START, weeks=FAST_WEEKS)))
    say("Making the first model of January and February")
    everloop("run", folder)
    ws = Workspace.open(folder)
    up = subprocess.Popen([sys.executable, "-m", "everloop", "up", "--project", str(folder)])
    try:
        url = f"http://127.0.0.1:{options.port}"
        wait_until_ready(url, up)
        say(f"Serving on {url}; pages on http://127.0.0.1:{ws.project.console.port}/")
        tally = run_replay(ws, url, rows)
        data = read_outcome(ws, tally, time.monotonic() - started)
        path = write_report(data, ws.local("reports"))
        print(text_table(data))
        say(f"Report: {path}")
        say(f"Summary: {path.with_name('summary.json')}")
        if options.keep_running:
            say("Still serving; Ctrl-C ends it")
            up.wait()
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(timeout=60)


def lay_out(folder: Path, port: int) -> Path:
    """Make a fresh project folder with the data beside its file; only an earlier one is removed."""
    if folder.exists():
        if any(folder.iterdir()) and not (folder / "everloop.toml").exists():
            raise SystemExit(f"{folder} is there and no earlier demo; name another with --out")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    text = (HERE / "everloop.toml").read_text()
    pages = port + 10 if port else 0
    text = text.replace("[serve]\n", f"[console]\nport = {pages}\n\n[serve]\nport = {port}\n")
    (folder / "everloop.toml").write_text(text)
    prepare(HERE / "data")
    (folder / "data").symlink_to((HERE / "data").resolve(), target_is_directory=True)
    return folder


def everloop(command: str, folder: Path, *more: str) -> None:
    """Run one command of everloop as a user would."""
    line = [sys.executable, "-m", "everloop", command, *more, "--project", str(folder)]
    code = subprocess.run(line, check=False).returncode
    if code:
        raise SystemExit(code)  # it has said why


def wait_until_ready(url: str, up: "subprocess.Popen[bytes]") -> None:
    """Wait until the server says that it is ready."""
    clock, waited = SystemClock(), 0.0
    while waited < PATIENCE_S and up.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/v2/health/ready", timeout=1):
                return
        except OSError:
            clock.wait(0.05)
            waited += 0.05
    raise SystemExit(f"the server on {url} did not become ready; see what it said above")


def run_replay(ws: Workspace, url: str, rows: pl.DataFrame) -> Tally:
    """Send the year, waiting each day until the loop has caught up."""
    weather = ws.tables.table("clean/weather").scan()
    known = join(rows.lazy(), ws.project, {"weather": weather}).with_columns(
        late=pl.col("arr_delay") > 30
    )
    features = ws.project.train.features or ()
    client = Client(url, ws.model)
    clock = SystemClock()

    def day_is_over(newest: datetime) -> None:
        waited = 0.0
        while waited < PATIENCE_S:
            status = read_status(ws)
            if status and status.stream_time and status.stream_time >= newest:
                return
            clock.wait(0.02)
            waited += 0.02
        raise SystemExit(f"the loop did not catch up with {newest:%d %B}; see what it said above")

    shown = [0]
    mistakes = [MISTAKE]

    def tell(newest: datetime, tally: Tally) -> None:
        if mistakes and newest >= mistakes[0]:
            mistakes.pop()
            say("Somebody puts version 1 back by hand; the loop will see what comes of it")
            everloop("promote", ws.root, "1", "--reason", "somebody liked the first model better")
        if newest.month != shown[0]:
            shown[0] = newest.month
            say(f"{newest:%B}: {tally.requests} requests so far, {tally.failed} failed")

    replay(known.collect(), client, features=features, day_is_over=day_is_over, tell=tell)
    return client.tally


def _moment(day: date, *, weeks: int) -> datetime:
    return datetime(day.year, day.month, day.day, 5, tzinfo=UTC) + timedelta(weeks=weeks)


def say(text: str) -> None:
    """Tell whoever watches."""
    print(f"--- {text}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        say("Stopped; the next demo begins anew")
        sys.exit(130)
