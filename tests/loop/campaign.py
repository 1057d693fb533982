"""A campaign of kills: a small project under `everloop up`, killed at random moments."""

import http.client
import json
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import psutil

from everloop.loop.controller import Controller
from everloop.loop.dataset import LABELS, PREDICTIONS
from everloop.loop.shipping import Shipping
from everloop.loop.trail import decision_lines
from everloop.loop.turn import run_turn
from everloop.loop.workspace import Workspace
from everloop.testing import add_rows, make_project, make_rows

TARGETS = ("serve", "ship", "watch", "report", "supervisor", "up")
PATIENCE_S = 60.0
ROWS_A_REQUEST = 5
FIRST_SERVED = 50_000
MAX_REQUESTS = 100_000
_PAUSE_S = 0.02


@dataclass
class Tally:
    """What a campaign did and saw.

    Attributes:
        kills: By target.
        requests: Acknowledged.
        failed: Requests that were not answered with 200.
        labels: Acknowledged.
        versions: Registered in the end.
        decisions: By kind.
        seconds: From the first process to the last check.
    """

    kills: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    failed: int = 0
    labels: int = 0
    versions: int = 0
    decisions: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def add(self, other: "Tally") -> None:
        self.kills += other.kills
        self.decisions += other.decisions
        for name in ("requests", "failed", "labels", "versions", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))


def eventually(check: Callable[[], bool], what: str) -> None:
    pause, end = threading.Event(), time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if check():
            return
        pause.wait(0.02)
    raise AssertionError(f"{what} did not happen within {PATIENCE_S:g} s")


class Client:
    """Asks and labels without end; notes what was acknowledged."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._end = threading.Event()
        self._connection: http.client.HTTPConnection | None = None
        self.answered: set[str] = set()
        self.labelled: dict[str, str] = {}
        self.failed = 0
        self._thread = threading.Thread(target=self._run, name="client", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._end.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        waiting: dict[str, bool] = {}
        for number in range(MAX_REQUESTS):
            if self._end.wait(_PAUSE_S):
                return
            rows = make_rows(ROWS_A_REQUEST, first=FIRST_SERVED + number * ROWS_A_REQUEST)
            name = f"q{number}"
            body = {"id": name, "rows": _json_rows(rows)}
            if self._post("/v1/predict", body):
                ids = [f"{name}.{i}" for i in range(rows.height)]
                self.answered.update(ids)
                waiting |= zip(ids, rows["label"].to_list(), strict=True)
            else:
                self.failed += 1
            # A post that was not acknowledged is sent again: labels may come twice, never not.
            labels = [{"id": one, "label": label} for one, label in waiting.items()]
            if len(labels) >= 10 * ROWS_A_REQUEST and self._post("/v1/labels", {"labels": labels}):
                self.labelled |= {one: str(label).lower() for one, label in waiting.items()}
                waiting = {}

    def _post(self, path: str, body: object) -> bool:
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        try:
            headers = {"Content-Type": "application/json"}
            self._connection.request("POST", path, json.dumps(body), headers)
            response = self._connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            self._connection = None
            return False
        assert response.status < 400 or response.status == 503, answer
        return response.status < 400


def _json_rows(rows: pl.DataFrame) -> list[dict[str, Any]]:
    sent = rows.select("size", "weight", "colour", pl.col("at").dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
    return sent.to_dicts()


class Campaign:
    """One project and its processes."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self._chance = random.Random(seed)
        self._seed = seed
        self._port = _free_port()
        self._num_rows = 2000
        make_project(folder, num_rows=self._num_rows, seed=0, settings=_settings(self._port))
        self._up: subprocess.Popen[bytes] | None = None
        self.client = Client(self._port)
        self.tally = Tally()

    def run(self, num_kills: int) -> Tally:
        """Kill so many times, then check everything."""
        started = time.monotonic()
        run_turn(Workspace.open(self.folder))
        self._start()
        try:
            self._wait_until_ready()
            self.client.start()
            for number in range(num_kills):
                # Half of the kills hit a loop at work, the others whatever is starting.
                if self._chance.random() < 0.5:
                    self._wait_until_ready()
                threading.Event().wait(self._chance.uniform(0.0, 1.5))
                if number % 3 == 0:
                    self._add_rows()
                self._kill(self._chance.choice(TARGETS))
            self._recover()
        finally:
            self._end()
        self._check()
        self.tally.seconds = time.monotonic() - started
        return self.tally

    def _start(self) -> None:
        command = [sys.executable, "-m", "everloop", "up", "--project", str(self.folder)]
        with (self.folder / "log").open("ab") as log:
            self._up = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _processes(self) -> dict[str, psutil.Process]:
        assert self._up is not None
        found: dict[str, psutil.Process] = {}
        for process in psutil.Process(self._up.pid).children():
            try:
                words = process.cmdline()
            except psutil.NoSuchProcess:
                continue
            found |= {name: process for name in TARGETS if name in words}
        return found

    def _kill(self, target: str) -> None:
        assert self._up is not None
        processes = self._processes()
        if target in processes:
            _kill_one(processes[target])
        elif target in ("up", "supervisor"):
            self._up.kill()
            self._up.wait(PATIENCE_S)
            if target == "up":
                for process in processes.values():
                    _kill_one(process)
                psutil.wait_procs(processes.values(), PATIENCE_S)
                self._check_at_rest()
            # After the supervisor alone, its services still end while the new ones start.
            self._start()
        else:
            return  # it is only just being started again
        self.tally.kills[target] += 1

    def _add_rows(self) -> None:
        rows = make_rows(50, seed=self._seed, first=self._num_rows)
        bad = pl.col("id") == f"r{self._num_rows + 7}"
        add_rows(
            self.folder,
            rows.with_columns(weight=pl.when(bad).then(99.0).otherwise(pl.col("weight"))),
        )
        self._num_rows += 50

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=2)
        try:
            connection.request("GET", "/v2/health/ready")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _wait_until_ready(self) -> None:
        def is_ready() -> bool:
            assert self._up is not None
            if self._up.poll() is not None:
                # What a killed supervisor left behind still had the port; whoever runs services
                # starts them again.
                self._start()
            # A server whose supervisor was killed alone answers for a moment longer.
            return "serve" in self._processes() and self._is_ready()

        eventually(is_ready, "readiness")

    def _recover(self) -> None:
        """Wait until what is served is answered, labelled and learned from again."""
        self._wait_until_ready()
        before = len(self.client.labelled)
        eventually(lambda: len(self.client.labelled) > before, "a label taken after the kills")
        self.client.stop()
        ws = Workspace.open(self.folder)
        eventually(lambda: len(self._ids(ws, PREDICTIONS)) >= len(self.client.answered), "shipping")

    def _end(self) -> None:
        assert self._up is not None
        if self._up.poll() is None:
            self._up.send_signal(signal.SIGINT)
        try:
            code = self._up.wait(PATIENCE_S)
            assert code == 0, f"everloop up ended with {code}; see {self.folder / 'log'}"
        finally:
            self._up.kill()
        # Services whose supervisor was killed alone end by themselves, once they did what they do.
        eventually(lambda: not self._left(), "the end of every process")

    def _left(self) -> list[list[str]]:
        found: list[list[str]] = [
            process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])
        ]
        return [words for words in found if str(self.folder) in words]

    def _check_at_rest(self) -> None:
        """Check what holds even when every process is dead."""
        ws = Workspace.open(self.folder)
        for version in ws.registry.versions():
            ws.bundles.open(version.bundle)
        decision_lines(ws)
        for name in ("raw/main", "clean/main"):
            ids = ws.tables.table(name).scan().select("id").collect()["id"]
            assert ids.n_unique() == len(ids), f"{name}: a source row is there twice"
        ids = pl.Series(self._ids(ws, PREDICTIONS))
        assert ids.n_unique() == len(ids), "a prediction is there twice"

    def _check(self) -> None:
        """Check what holds once the processes could finish what they had begun."""
        ws = Workspace.open(self.folder)
        Shipping(ws).ship()
        run_turn(ws, to="validate")
        Controller(ws).resume()
        self._check_at_rest()
        self._check_source(ws)
        missing = self.client.answered - set(self._ids(ws, PREDICTIONS))
        assert not missing, f"{len(missing)} acknowledged predictions are lost"
        labels = ws.tables.table(LABELS).scan().collect()
        found = dict(labels.select("_prediction_id", "_label").iter_rows())
        assert self.client.labelled.items() <= found.items(), "an acknowledged label is lost"
        self._check_route(ws)
        self._check_going_on(ws)
        self.tally.requests = len(self.client.answered) // ROWS_A_REQUEST
        self.tally.failed = self.client.failed
        self.tally.labels = len(self.client.labelled)
        self.tally.versions = len(ws.registry.versions())
        self.tally.decisions = Counter(line.kind for line in decision_lines(ws))

    def _check_source(self, ws: Workspace) -> None:
        kept = ws.tables.table("clean/main").scan().select("id").collect()["id"].to_list()
        aside = ws.tables.table("quarantine/main")
        if aside.version() >= 0:
            kept += aside.scan().select("id").collect()["id"].to_list()
        assert sorted(kept) == sorted(f"r{n}" for n in range(self._num_rows))

    def _check_route(self, ws: Workspace) -> None:
        route, champion = ws.routes.current(), ws.registry.aliases()["champion"]
        assert route is not None
        assert [target.version for target in route.live] == [champion]
        assert Controller(ws).state.champion == champion
        assert route.live[0].bundle == ws.registry.version(champion).bundle

    def _check_going_on(self, ws: Workspace) -> None:
        self._add_rows()
        run_turn(ws, to="validate")
        before = len(ws.registry.versions())
        actions = Controller(ws).retrain_by_hand("after the kills")
        assert len(ws.registry.versions()) == before + 1, actions
        self._check_route(ws)

    @staticmethod
    def _ids(ws: Workspace, name: str) -> list[str]:
        table = ws.tables.table(name)
        if table.version() < 0:
            return []
        return table.scan().select("_prediction_id").collect()["_prediction_id"].to_list()


def _kill_one(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _settings(port: int) -> dict[str, Any]:
    source = {"name": "main", "path": "rows/*.csv", "time": "at", "key": ["id"], "label": "label"}
    return {
        "sources": [{**source, "piece_rows": 500}],
        "columns": {"weight": {"max": 10.0}},
        "train": {"rows": "feedback", "max_rows": 2000, "boosting": {"num_trees": 5}},
        "gate": {"rule": "not_worse", "min_gain": -0.1},
        "serve": {"port": port, "drain_timeout": "2s"},
        "monitor": {"every": "2h"},
        "retrain": {"after_rows": 200, "cooldown": "1h", "recalibrate_every": "10h"},
    }


def pieces(num_kills: int, of: int) -> Iterator[int]:
    """Split a number of kills over campaigns."""
    for start in range(0, num_kills, of):
        yield min(of, num_kills - start)
