import io
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from everloop.registry.routes import Routes, RouteTarget
from everloop.rows.graph import input_tensors, output_tensors, wrap
from everloop.serve.app import App
from everloop.serve.batcher import Batcher
from everloop.serve.events import EventLog
from everloop.serve.http.messages import JSON, Refused, Request
from everloop.serve.inference import Inference, InferenceQuery
from everloop.serve.metrics import Metrics
from everloop.serve.model import load_model
from everloop.serve.replica import ServeJob
from everloop.serve.spool import Spool
from everloop.spec.manifest import Calibration, Manifest
from everloop.spec.project import ServeSpec, StoreSpec
from everloop.spec.steps import ColumnSteps, FittedStep
from everloop.store.bundles import Bundle, Bundles, Draft
from everloop.store.objects import Objects

MODEL = "flights"
COLUMNS = (
    ColumnSteps(name="distance", kind="number", steps=(FittedStep(kind="impute", fill=(100.0,)),)),
    ColumnSteps(
        name="carrier",
        kind="category",
        steps=(FittedStep(kind="trim"), FittedStep(kind="lookup", values=("AA", "UA"))),
    ),
)
WAIT_S = 20.0


def _core(offset: float) -> onnx.ModelProto:
    # raw = distance + 1000 * code + offset, so that an answer tells its version.
    constants = [
        numpy_helper.from_array(np.array([[1.0]], np.float32), "one"),
        numpy_helper.from_array(np.array([[1000.0]], np.float32), "weight"),
        numpy_helper.from_array(np.array([offset], np.float32), "offset"),
        numpy_helper.from_array(np.array([1], np.int64), "axis"),
    ]
    nodes = [
        helper.make_node("Cast", ["codes"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["floats", "weight"], ["weighted"]),
        helper.make_node("MatMul", ["numbers", "one"], ["distance"]),
        helper.make_node("Add", ["weighted", "distance"], ["sum"]),
        helper.make_node("Add", ["sum", "offset"], ["wide"]),
        helper.make_node("Squeeze", ["wide", "axis"], ["raw"]),
    ]
    graph = helper.make_graph(
        nodes,
        "core",
        [
            helper.make_tensor_value_info("numbers", TensorProto.FLOAT, ["N", 1]),
            helper.make_tensor_value_info("codes", TensorProto.INT64, ["N", 1]),
        ],
        [helper.make_tensor_value_info("raw", TensorProto.FLOAT, ["N"])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def make_draft(offset: float = 0.0) -> Draft:
    """A regression model that answers distance + 1000 * (code of carrier) + offset."""
    model = wrap(_core(offset), COLUMNS, "regression", Calibration())
    manifest = Manifest(
        name=MODEL,
        task="regression",
        family="boosting",
        inputs=input_tensors(COLUMNS),
        outputs=output_tensors("regression", 0),
        columns=COLUMNS,
        logged=("time_hour", "flight"),
        time_column="time_hour",
        project_digest="0" * 64,
        created_at="2024-01-01T00:00:00Z",
    )
    return Draft(manifest=manifest, files={"model.onnx": model.SerializeToString()})


class Shop:
    """A store with a route to publish to."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.objects = Objects.open(StoreSpec(url="store"), root)
        self.bundles = Bundles(self.objects)
        self.routes = Routes(self.objects, MODEL)

    def write(self, offset: float) -> Bundle:
        return self.bundles.write(make_draft(offset))

    def publish(self, version: int, offset: float) -> Bundle:
        bundle = self.write(offset)
        self.route(version, bundle.digest)
        return bundle

    def route(self, version: int, digest: str) -> None:
        self.routes.publish([RouteTarget(version=version, bundle=digest)], reason="test")

    def job(self, **serve: Any) -> ServeJob:
        spec = ServeSpec.model_validate({"port": 0, "poll_interval": "10ms", **serve})
        return ServeJob(
            model=MODEL,
            store=StoreSpec(url="store"),
            root=self.root,
            serve=spec,
            spool=self.root / "spool",
            address_file=self.root / "address",
        )


class Process:
    """A replica in a process of its own."""

    def __init__(self, job: ServeJob) -> None:
        self.job = job
        assert job.address_file is not None
        job.address_file.unlink(missing_ok=True)
        self.log = job.root / "log.jsonl"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "everloop.serve", job.model_dump_json()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        eventually(lambda: job.address_file is not None and job.address_file.exists())
        host, _, port = job.address_file.read_text().rpartition(":")
        self.host, self.port = host, int(port)

    def connect(self) -> HTTPConnection:
        return HTTPConnection(self.host, self.port, timeout=WAIT_S)

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        connection = self.connect()
        try:
            return ask(connection, method, path, body, headers)
        finally:
            connection.close()

    def is_ready(self) -> bool:
        return self.ask("GET", "/v2/health/ready")[0] == 200

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(WAIT_S)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WAIT_S)

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


def ask(
    connection: HTTPConnection,
    method: str,
    path: str,
    body: Any = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    connection.request(method, path, data, headers or {})
    response = connection.getresponse()
    text = response.read()
    kind = response.headers.get("Content-Type", "")
    return response.status, json.loads(text) if kind == "application/json" else text.decode()


@pytest.fixture(name="eventually", scope="session")
def _eventually() -> Callable[[Callable[[], bool]], None]:
    return eventually


def eventually(check: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(int(WAIT_S / 0.01)):
        if check():
            return
        pause.wait(0.01)
    raise AssertionError("did not happen in time")


def tensors(*distances: float | None, carrier: str | None = "AA") -> dict[str, Any]:
    n = len(distances)
    return {
        "inputs": [
            {"name": "distance", "shape": [n], "datatype": "FP32", "data": list(distances)},
            {"name": "carrier", "shape": [n], "datatype": "BYTES", "data": [carrier] * n},
        ]
    }


class Told:
    """A reply that keeps what it was told."""

    is_closed = False

    def __init__(self) -> None:
        self.status = 0
        self.body: Any = None

    def respond(
        self, status: int, body: bytes, content_type: bytes = JSON, headers: bytes = b""
    ) -> None:
        del content_type, headers
        assert self.status == 0, "answered twice"
        self.status, self.body = status, json.loads(body)


class InProcess:
    """An app without sockets; what is queued runs when the request was handled."""

    def __init__(self, root: Path, *, max_bytes: int = 1 << 30) -> None:
        due: list[Callable[[], None]] = []
        self.due = due
        self.metrics = Metrics()
        self.spool = Spool(root / "spool", "r1", max_bytes=max_bytes, now_us=lambda: 1_000_000)
        inference = Inference(
            self.spool, self.metrics, EventLog(MODEL, stream=io.StringIO()), ThreadPoolExecutor(1)
        )
        batcher: Batcher[InferenceQuery] = Batcher(
            inference.run,
            max_rows=64,
            max_queue_rows=64,
            max_wait_s=0.0,
            timeout_s=10.0,
            clock=lambda: 0.0,
            call_soon=due.append,
            call_later=lambda _, call: due.append(call),
        )
        self.app = App(MODEL, inference, batcher, self.spool, self.metrics)
        draft = make_draft()
        bundle = Bundle(digest="0" * 64, manifest=draft.manifest, files=draft.files)
        self.app.switch(load_model(bundle, 1, threads=1, max_rows=64))

    def post(self, path: str, body: Any, headers: dict[bytes, bytes] | None = None) -> Told:
        told = self.send(path, body, headers)
        self.turn()
        return told

    def send(self, path: str, body: Any, headers: dict[bytes, bytes] | None = None) -> Told:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request, told = Request(b"POST", path.encode(), data), Told()
        request.headers.update(headers or {})
        try:
            self.app.handle(request, told)
        except Refused as refused:
            told.respond(refused.status, refused.body)
        return told

    def turn(self) -> None:
        while self.due:
            self.due.pop(0)()

    def lines(self, stream: str = "predictions") -> list[dict[str, Any]]:
        files = sorted((self.spool._root / stream / "r1").glob("*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_bytes().splitlines()]


INFER = f"/v2/models/{MODEL}/infer"


@pytest.fixture
def app(tmp_path: Path) -> Iterator[InProcess]:
    one = InProcess(tmp_path)
    yield one
    one.spool.close()


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.fixture
def start(shop: Shop) -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def begin(**serve: Any) -> Process:
        started.append(Process(shop.job(**serve)))
        return started[-1]

    yield begin
    for one in started:
        if one.process.poll() is None:
            one.kill()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A replica that all tests of a module share; it serves version 1 with offset 0."""
    shop = Shop(tmp_path_factory.mktemp("served"))
    shop.publish(1, 0.0)
    process = Process(shop.job(max_batch_rows=64, max_body_mb=0.5))
    try:
        eventually(process.is_ready)
        yield process
        assert process.process.poll() is None, "the replica died"
    finally:
        process.kill()
