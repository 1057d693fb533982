"""What does serving cost beside the model call? The replica, the bare call, and a plain rival.

The replica does all it does in service: limits, checks, batches, metrics and the spool with every
prediction's inputs. The rival is FastAPI with pydantic on uvicorn; where FastAPI is not installed,
Starlette with the same pydantic models. It has no spool, no batches and no metrics. Both get the
same bodies from the same client; outputs are compared before anything is timed, and the two are
loaded in turn. CPU a request is the figure to quote, since the client shares the machine's cores.

    python benchmarks/bench_serve_overhead.py --rounds 3 --seconds 2
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import psutil
import uvloop
from onnx import TensorProto, helper, numpy_helper

from everloop.frameworks.onnx_runtime import open_session
from everloop.registry.routes import Routes, RouteTarget
from everloop.rows.graph import input_tensors, output_tensors, wrap
from everloop.rows.replica import parse_inputs
from everloop.serve.replica import ServeJob
from everloop.spec.manifest import Calibration, Manifest
from everloop.spec.project import ServeSpec, StoreSpec
from everloop.spec.steps import ColumnSteps, FittedStep
from everloop.store.bundles import Bundles, Draft
from everloop.store.objects import Objects

MODEL = "bench"
PATH = f"/v2/models/{MODEL}/infer"
HIDDEN = 64
CARRIERS = tuple(f"C{i:02}" for i in range(16))


def columns(num_numbers: int, num_categories: int) -> tuple[ColumnSteps, ...]:
    """Make numbers that are imputed and scaled, and categories that are looked up."""
    steps = (
        FittedStep(kind="impute", fill=(0.0,)),
        FittedStep(kind="scale", mean=(0.5,), deviation=(0.3,)),
    )
    look_up = (FittedStep(kind="lookup", values=CARRIERS),)
    numbers = [ColumnSteps(name=f"n{i}", kind="number", steps=steps) for i in range(num_numbers)]
    words = [
        ColumnSteps(name=f"c{i}", kind="category", steps=look_up) for i in range(num_categories)
    ]
    return (*numbers, *words)


def core(num_numbers: int, num_categories: int) -> onnx.ModelProto:
    """Make a network of two hidden layers over the numbers and the codes."""
    rng = np.random.default_rng(0)
    width = num_numbers + num_categories
    sizes = [(width, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, 1)]
    weights = [
        numpy_helper.from_array(rng.normal(0, 0.2, size).astype(np.float32), f"w{i}")
        for i, size in enumerate(sizes)
    ]
    nodes = [
        helper.make_node("Cast", ["codes"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Concat", ["numbers", "floats"], ["x0"], axis=1),
        helper.make_node("MatMul", ["x0", "w0"], ["y0"]),
        helper.make_node("Relu", ["y0"], ["x1"]),
        helper.make_node("MatMul", ["x1", "w1"], ["y1"]),
        helper.make_node("Relu", ["y1"], ["x2"]),
        helper.make_node("MatMul", ["x2", "w2"], ["y2"]),
        helper.make_node("Squeeze", ["y2", "axis"], ["raw"]),
    ]
    inputs = [
        helper.make_tensor_value_info("numbers", TensorProto.FLOAT, ["N", num_numbers]),
        helper.make_tensor_value_info("codes", TensorProto.INT64, ["N", num_categories]),
    ]
    outputs = [helper.make_tensor_value_info("raw", TensorProto.FLOAT, ["N"])]
    weights.append(numpy_helper.from_array(np.array([1], np.int64), "axis"))
    graph = helper.make_graph(nodes, "core", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def draft(steps: tuple[ColumnSteps, ...]) -> Draft:
    """Make a bundle of it."""
    numbers = sum(c.kind == "number" for c in steps)
    model = wrap(core(numbers, len(steps) - numbers), steps, "binary", Calibration())
    manifest = Manifest(
        name=MODEL,
        task="binary",
        family="network",
        classes=("false", "true"),
        inputs=input_tensors(steps),
        outputs=output_tensors("binary", 2),
        columns=steps,
        project_digest="0" * 64,
        created_at="2024-01-01T00:00:00Z",
    )
    return Draft(manifest=manifest, files={"model.onnx": model.SerializeToString()})


def row(steps: tuple[ColumnSteps, ...]) -> dict[str, Any]:
    """Make one row."""
    return {
        c.name: round(0.1 + i / 7, 3) if c.kind == "number" else CARRIERS[i % 16]
        for i, c in enumerate(steps)
    }


def body(steps: tuple[ColumnSteps, ...]) -> bytes:
    """Make a request of one row."""
    datatypes = {"number": "FP32", "category": "BYTES"}
    inputs = [
        {"name": c.name, "shape": [1], "datatype": datatypes[c.kind], "data": [row(steps)[c.name]]}
        for c in steps
    ]
    return json.dumps({"inputs": inputs}).encode()


def bare(made: Draft, num_rows: int) -> float:
    """Time ONNX Runtime alone, in microseconds a row, on tensors that are made already."""
    session = open_session(made.files["model.onnx"])
    steps = made.manifest.columns
    data = {name: [value] * num_rows for name, value in row(steps).items()}
    tensors = parse_inputs(steps, data, num_rows)
    rounds = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(200):
            session.run(None, tensors)
        rounds.append((time.perf_counter() - start) / 200 / num_rows * 1e6)
    return statistics.median(rounds)


class Client(asyncio.Protocol):
    """One connection that asks again as soon as it was answered."""

    def __init__(self, request: bytes, latencies: list[float], failed: list[bytes]) -> None:
        self.request, self.latencies, self.failed = request, latencies, failed
        self.buffer = b""
        self.is_on = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.ask()

    def ask(self) -> None:
        self.start = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, separator, rest = self.buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        _, _, length = head.lower().partition(b"content-length: ")
        if len(rest) < int(length.split(b"\r\n")[0]):
            return
        self.latencies.append(time.perf_counter() - self.start)
        if not head.startswith(b"HTTP/1.1 200"):
            self.failed.append(self.buffer)
        self.buffer = b""
        if self.is_on:
            self.ask()


async def load(port: int, request: bytes, num: int, seconds: float) -> list[float]:
    """Ask over so many connections for so long; return every latency."""
    latencies: list[float] = []
    failed: list[bytes] = []
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: Client(request, latencies, failed), "127.0.0.1", port)
        for _ in range(num)
    ]
    await asyncio.sleep(seconds)
    for transport, client in made:
        client.is_on = False
        transport.close()
    assert not failed, failed[0]
    return latencies


@dataclass
class Score:
    """What one server showed, round by round."""

    rate: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)

    def line(self, name: str) -> str:
        """Format the medians, with the spread of CPU."""
        rate, p50, p99, cpu = (
            statistics.median(v) for v in (self.rate, self.p50_ms, self.p99_ms, self.cpu_us)
        )
        spread = (max(self.cpu_us) - min(self.cpu_us)) / max(cpu, 1e-9)  # a tiny run may show 0
        return f"| {name} | {rate:,.0f} | {p50:.2f} | {p99:.2f} | {cpu:.1f} | {spread:.2f} |"


def measure(server: "Server", request: bytes, num: int, seconds: float, score: Score) -> None:
    """Load one server once."""
    before = sum(server.process.cpu_times()[:2])
    latencies = uvloop.run(load(server.port, request, num, seconds))
    cpu_s = sum(server.process.cpu_times()[:2]) - before
    latencies.sort()
    score.rate.append(len(latencies) / seconds)
    score.p50_ms.append(latencies[len(latencies) // 2] * 1000)
    score.p99_ms.append(latencies[len(latencies) * 99 // 100] * 1000)
    score.cpu_us.append(cpu_s / len(latencies) * 1e6)


@dataclass
class Server:
    """A server in a process of its own."""

    name: str
    process: psutil.Popen
    port: int


@contextmanager
def replica(root: Path, made: Draft) -> Iterator[Server]:
    """Start the replica."""
    objects = Objects.open(StoreSpec(url="store"), root)
    bundle = Bundles(objects).write(made)
    Routes(objects, MODEL).publish([RouteTarget(version=1, bundle=bundle.digest)], reason="bench")
    job = ServeJob(
        model=MODEL,
        store=StoreSpec(url="store"),
        root=root,
        serve=ServeSpec(port=0),
        spool=root / "spool",
        address_file=root / "address",
    )
    command = [sys.executable, "-m", "everloop.serve", job.model_dump_json()]
    with running("everloop replica", command, root / "address") as server:
        yield server


@contextmanager
def rival(root: Path, made: Draft) -> Iterator[Server]:
    """Start the plain server; this file, run with ``--rival``."""
    (root / "model.onnx").write_bytes(made.files["model.onnx"])
    name = "FastAPI + pydantic + uvicorn" if has_fastapi() else "Starlette + pydantic + uvicorn"
    address = root / "rival"
    command = [sys.executable, __file__, "--rival", str(root / "model.onnx"), str(address)]
    with running(name, command, address) as server:
        yield server


@contextmanager
def running(name: str, command: list[str], address: Path) -> Iterator[Server]:
    """Start a process and wait for its address and its readiness."""
    process = psutil.Popen(command, stderr=subprocess.DEVNULL)
    try:
        wait_for(address.exists)
        port = int(address.read_text().rpartition(":")[2])
        wait_for(lambda: answers(port))
        yield Server(name, process, port)
    finally:
        process.terminate()
        process.wait()


def wait_for(check: Callable[[], bool]) -> None:
    """Wait up to half a minute."""
    end = time.monotonic() + 30
    while not check():
        assert time.monotonic() < end, "a server did not start"


def answers(port: int) -> bool:
    """Whether a server is ready."""
    try:
        return ask(port, "GET", "/v2/health/ready", b"")[0] == 200
    except OSError:
        return False


def ask(port: int, method: str, path: str, data: bytes) -> tuple[int, bytes]:
    """Ask once."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, data)
    response = connection.getresponse()
    answer = response.read()
    connection.close()
    return response.status, answer


def has_fastapi() -> bool:
    """Whether FastAPI is installed."""
    try:
        import fastapi  # noqa: F401
    except ImportError:
        return False
    return True


def serve_rival(model: Path, address: Path) -> None:
    """Serve the graph the way a tutorial would, with typed bodies, one call for each request."""
    import socket

    import uvicorn
    from pydantic import BaseModel

    class TensorIn(BaseModel):
        name: str
        shape: list[int]
        datatype: str
        data: list[Any]

    class Ask(BaseModel):
        id: str | None = None
        inputs: list[TensorIn]

    session = open_session(model.read_bytes())
    types = {"FP32": np.float32, "BYTES": np.object_}

    def predict(asked: Ask) -> dict[str, Any]:
        tensors = {t.name: np.array(t.data, types[t.datatype]) for t in asked.inputs}
        found = session.run(None, tensors)[0]
        out = {"name": "probability", "datatype": "FP32", "shape": [len(found)]}
        return {"model_name": MODEL, "outputs": [out | {"data": found.tolist()}]}

    app = fastapi_app(Ask, predict) if has_fastapi() else starlette_app(Ask, predict)
    listening = socket.create_server(("127.0.0.1", 0))
    # Whole or not at all: whoever waits for the file reads it the moment it is there.
    part = address.with_suffix(".part")
    part.write_text(f"127.0.0.1:{listening.getsockname()[1]}")
    part.rename(address)
    config = uvicorn.Config(app, log_level="error", access_log=False, loop="uvloop")
    uvicorn.Server(config).run([listening])


def fastapi_app(ask_type: type[Any], predict: Callable[[Any], object]) -> Callable[..., Any]:
    """Make the FastAPI app."""
    import fastapi

    app = fastapi.FastAPI()

    async def infer(asked: object) -> object:
        return predict(asked)

    infer.__annotations__["asked"] = ask_type
    app.post(PATH)(infer)
    app.get("/v2/health/ready")(lambda: {"ready": True})
    return app


def starlette_app(ask_type: type[Any], predict: Callable[[Any], object]) -> Callable[..., Any]:
    """Make the Starlette app."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async def infer(request: Request) -> JSONResponse:
        return JSONResponse(predict(ask_type.model_validate_json(await request.body())))

    async def ready(_: Request) -> JSONResponse:
        return JSONResponse({"ready": True})

    routes = [Route(PATH, infer, methods=["POST"]), Route("/v2/health/ready", ready)]
    return Starlette(routes=routes)


def compare(steps: tuple[ColumnSteps, ...], args: argparse.Namespace) -> list[str]:
    """Run the whole comparison; returns the lines of the result."""
    made = draft(steps)
    asked = body(steps)
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(asked)}\r\n\r\n"
    request = head.encode() + asked
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with replica(root, made) as ours, rival(root, made) as theirs:
            found = [
                json.loads(ask(s.port, "POST", PATH, asked)[1])["outputs"][0]["data"]
                for s in (ours, theirs)
            ]
            assert np.allclose(found[0], found[1], atol=1e-6), found
            scores = {server.name: Score() for server in (ours, theirs)}
            for _ in range(args.rounds):
                for server in (ours, theirs):
                    measure(server, request, args.connections, args.seconds, scores[server.name])
    one, many = bare(made, 1), bare(made, 32)
    return [
        f"bare ONNX Runtime call: {one:.1f} us for one row, {many:.2f} us a row in batches of 32",
        "| server | req/s | p50 ms | p99 ms | server CPU us/request | spread of CPU |",
        "|---|---|---|---|---|---|",
        *[score.line(name) for name, score in scores.items()],
    ]


def main() -> None:
    """Read the arguments and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--numbers", type=int, default=10)
    parser.add_argument("--categories", type=int, default=2)
    parser.add_argument("--rival", nargs=2, type=Path, default=None)
    args = parser.parse_args()
    if args.rival is not None:
        serve_rival(*args.rival)
        return
    for line in compare(columns(args.numbers, args.categories), args):
        sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
