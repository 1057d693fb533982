import json
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from typing import Any

import polars as pl
import pytest

from everloop.serve.ship import ship
from everloop.spec.project import StoreSpec
from everloop.store.tables import Tables

INFER = "/v2/models/flights/infer"
HEAVY = ("polars", "deltalake", "pyarrow", "torch", "onnx", "lightgbm", "pandas")


def rows(n: int, request_id: str) -> dict[str, Any]:
    return {"rows": [{"distance": i, "carrier": "AA"} for i in range(n)], "id": request_id}


def ask(connection: HTTPConnection, path: str, body: Any) -> tuple[int, Any]:
    connection.request("POST", path, json.dumps(body).encode())
    response = connection.getresponse()
    return response.status, json.loads(response.read())


class Load(threading.Thread):
    """Asks without pause, and keeps what it was answered."""

    def __init__(self, process: Any, name: str) -> None:
        super().__init__(name=name)
        self.connection = HTTPConnection(process.host, process.port, timeout=20)
        self.stop = threading.Event()
        self.answers: list[tuple[int, Any]] = []
        self.acknowledged: list[str] = []
        self.failed: list[str] = []

    def run(self) -> None:
        i = 0
        while not self.stop.is_set():
            i += 1
            self.ask_one(f"{self.name}-{i}", 1 + i % 3)

    def ask_one(self, request_id: str, num_rows: int) -> None:
        try:
            status, body = ask(self.connection, "/v1/predict", rows(num_rows, request_id))
        except (OSError, HTTPException) as error:
            self.failed.append(str(error))
            self.stop.set()
            return
        self.answers.append((status, body))
        many = [f"{request_id}.{i}" for i in range(num_rows)]
        self.acknowledged += [request_id] if num_rows == 1 else many


def test_the_replica_loads_no_heavy_package() -> None:
    code = f"import sys, everloop.serve.replica; print([n for n in {HEAVY} if n in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_it_starts_without_a_route_and_is_ready_once_there_is_one(
    shop: Any, start: Callable[..., Any], eventually: Any
) -> None:
    process = start()
    assert process.ask("GET", "/v2/health/live") == (200, {"live": True})
    status, body = process.ask("GET", "/v2/health/ready")
    assert (status, body) == (503, {"error": "no model is loaded yet; retry later"})
    shop.publish(1, 0.0)
    eventually(process.is_ready)
    status, body = process.ask("GET", "/v2/models/flights")
    assert [tensor["name"] for tensor in body["inputs"]] == ["distance", "carrier"]
    assert process.stop() == 0


def test_a_taken_port_ends_it_with_a_sentence(shop: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        job = shop.job(port=port).model_dump_json()
        ended = subprocess.run(
            [sys.executable, "-m", "everloop.serve", job],
            check=False,
            capture_output=True,
            text=True,
            timeout=20,
        )
    assert ended.returncode == 1
    assert f"serve.port: {port} on 127.0.0.1 is taken" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_twenty_swaps_under_load_fail_nothing_and_mix_nothing(
    shop: Any, start: Callable[..., Any], eventually: Any
) -> None:
    digests = [shop.publish(1, 10_000.0).digest, shop.write(20_000.0).digest]
    process = start()
    eventually(process.is_ready)
    load = [Load(process, f"c{i}") for i in range(4)]
    for one in load:
        one.start()
    for swap in range(20):
        version = 2 - swap % 2
        shop.route(version, digests[version - 1])
        eventually(
            lambda v=version: process.ask("GET", f"/v2/models/flights/versions/{v}")[0] == 200
        )
        body = process.ask("POST", "/v1/predict", rows(1, "now"))[1]
        assert body["model_version"] == str(version)
    for one in load:
        one.stop.set()
        one.join()
    answers = [answer for one in load for answer in one.answers]
    assert [one.failed for one in load] == [[]] * 4
    assert {status for status, _ in answers} == {200}
    assert {body["model_version"] for _, body in answers} == {"1", "2"}
    for _, body in answers:
        base = 10_000.0 * int(body["model_version"]) + 1000.0
        assert body["predictions"] == [base + i for i in range(len(body["predictions"]))]
    assert process.stop() == 0


def test_a_bad_bundle_keeps_the_model_that_serves(
    shop: Any, start: Callable[..., Any], eventually: Any
) -> None:
    shop.publish(1, 0.0)
    process = start()
    eventually(process.is_ready)
    broken = shop.publish(2, float("nan"))
    eventually(lambda: 'swaps_total{outcome="failure"} 1' in process.ask("GET", "/metrics")[1])
    corrupt = shop.write(5.0)
    path = shop.objects.local_path(f"bundles/{corrupt.digest}/model.onnx")
    path.write_bytes(b"x" + path.read_bytes()[1:])
    shop.route(3, corrupt.digest)
    eventually(lambda: 'swaps_total{outcome="failure"} 2' in process.ask("GET", "/metrics")[1])
    assert process.ask("POST", "/v1/predict", rows(1, "a"))[1]["model_version"] == "1"
    shop.publish(4, 7.0)
    eventually(lambda: process.ask("GET", "/v2/models/flights/versions/4")[0] == 200)
    failed = [e for e in process.events() if e["event.action"] == "swap-failed"]
    assert "not finite" in failed[0]["error.message"]
    assert "sha256" in failed[1]["error.message"]
    assert broken.digest != corrupt.digest


def test_a_stop_finishes_what_was_taken(
    shop: Any, start: Callable[..., Any], eventually: Any
) -> None:
    shop.publish(1, 0.0)
    process = start(max_wait_ms=150.0)
    eventually(process.is_ready)
    connection = process.connect()
    connection.request("POST", "/v1/predict", json.dumps(rows(1, "last")).encode())
    assert process.stop() == 0
    response = connection.getresponse()
    assert (response.status, json.loads(response.read())["id"]) == (200, "last")
    assert not process.job.address_file.exists()
    actions = [event["event.action"] for event in process.events()]
    assert actions == ["replica-started", "model-swapped", "replica-draining", "replica-stopped"]


class Reconnecting(threading.Thread):
    """Asks until no new connection is taken; whatever was connected must be answered."""

    def __init__(self, process: Any) -> None:
        super().__init__()
        self.connection = HTTPConnection(process.host, process.port, timeout=20)
        self.statuses: list[int] = []
        self.error: Exception | None = None

    def run(self) -> None:
        while self.error is None:
            if self.connection.sock is None:
                try:
                    self.connection.connect()
                except ConnectionRefusedError:
                    return
            try:
                self.statuses.append(ask(self.connection, "/v1/predict", rows(1, "q"))[0])
            except OSError as error:
                self.error = error


def test_a_stop_under_load_fails_no_request(
    shop: Any, start: Callable[..., Any], eventually: Any
) -> None:
    shop.publish(1, 0.0)
    for _ in range(3):
        process = start()
        eventually(process.is_ready)
        clients = [Reconnecting(process) for _ in range(4)]
        for client in clients:
            client.start()
        eventually(lambda c=clients: all(len(client.statuses) > 20 for client in c))
        assert process.stop() == 0
        for client in clients:
            client.join()
        assert [client.error for client in clients] == [None] * 4
        assert {status for client in clients for status in client.statuses} == {200}


@pytest.mark.parametrize("seed", range(2))
def test_kills_of_replica_and_shipper_lose_and_double_nothing(
    shop: Any, start: Callable[..., Any], eventually: Any, seed: int
) -> None:
    rng = random.Random(seed)
    shop.publish(1, 0.0)
    acknowledged: list[str] = []
    labelled: list[str] = []
    for turn in range(5):
        process = start()
        eventually(process.is_ready)
        load = [Load(process, f"t{turn}-{i}") for i in range(2)]
        for one in load:
            one.start()
        shipper = Shipper(shop)
        shipper.kill_after(rng.uniform(0.1, 0.5))
        label = process.ask("POST", "/v1/labels", {"labels": [{"id": f"l{turn}", "label": 1}]})
        labelled += [f"l{turn}"] * (label[0] == 202)
        process.kill()
        for one in load:
            one.join()
            acknowledged += one.acknowledged
    tables = shop_tables(shop)
    ship(shop.root / "spool", tables.table("predictions"), tables.table("labels"))
    found = tables.table("predictions").scan().collect()["_prediction_id"]
    assert found.n_unique() == len(found)
    assert set(acknowledged) <= set(found.to_list())
    assert len(acknowledged) > 50
    # A killed replica may have logged one request of each connection that it did not answer.
    assert len(found) - len(acknowledged) <= 5 * 2 * 3
    labels = tables.table("labels").scan().select(pl.col("_prediction_id")).collect()
    assert sorted(labels["_prediction_id"].to_list()) == labelled
    assert list((shop.root / "spool" / "predictions").iterdir()) == []


def shop_tables(shop: Any) -> Tables:
    return Tables(shop.objects, StoreSpec(url="store"))


class Shipper:
    """A shipper in a process of its own, which ships small pieces without pause."""

    CODE = """
import sys
from pathlib import Path
from everloop.serve.ship import ship
from everloop.spec.project import StoreSpec
from everloop.store.objects import Objects
from everloop.store.tables import Tables
root = Path(sys.argv[1])
spec = StoreSpec(url="store")
tables = Tables(Objects.open(spec, root), spec)
print("up", flush=True)
while True:
    ship(root / "spool", tables.table("predictions"), tables.table("labels"), piece_rows=20)
"""

    def __init__(self, shop: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", self.CODE, str(shop.root)], stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        self.process.stdout.readline()

    def kill_after(self, seconds: float) -> None:
        threading.Event().wait(seconds)
        assert self.process.poll() is None, "the shipper failed"
        self.process.kill()
        self.process.communicate()
