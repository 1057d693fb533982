"""One serving process: starts, follows its route, answers, and ends without losing a request."""

import asyncio
import gc
import os
import signal
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from everloop.registry.routes import Routes
from everloop.serve.app import App
from everloop.serve.batcher import Batcher
from everloop.serve.events import EventLog
from everloop.serve.http.hosts import Hosts
from everloop.serve.http.limits import MIB, Limits
from everloop.serve.http.listener import Listener
from everloop.serve.inference import Inference, InferenceQuery
from everloop.serve.metrics import Metrics
from everloop.serve.model import Model, load_model
from everloop.serve.spool import Spool
from everloop.serve.watcher import RouteWatcher
from everloop.spec.project import ServeSpec, StoreSpec
from everloop.spec.record import Record
from everloop.store.bundles import Bundle, Bundles
from everloop.store.objects import Objects

_LINGER_S = 0.2
_GRACE_S = 0.3
_STEP_S = 0.02
_SWEEP_S = 1.0
_GC_THRESHOLD = (50_000, 20, 100)


class ServeJob(Record):
    """What a replica is started with; plain JSON, so that any supervisor can start one.

    Attributes:
        model: The project's name.
        store: The project's `[store]`.
        root: Where a relative store url starts.
        serve: The project's `[serve]`.
        spool: Directory of the spool.
        address_file: Where the replica writes ``host:port`` once it listens.
    """

    model: str
    store: StoreSpec = StoreSpec()
    root: Path
    serve: ServeSpec = ServeSpec()
    spool: Path
    address_file: Path | None = None


def run_replica(job: ServeJob) -> None:
    """Serve until SIGTERM or SIGINT; returns once every request in hand was answered.

    Raises:
        UnavailableError: If the port is taken, or the spool or the store cannot be used.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(Replica(job).run())


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # absent on Windows
    except ImportError:
        return None
    factory: type[asyncio.AbstractEventLoop] = uvloop.Loop
    return factory


class Replica:
    """Holds the parts of one replica together."""

    def __init__(self, job: ServeJob, *, events: EventLog | None = None) -> None:
        self._job = job
        self._spec = job.serve
        self.id = uuid.uuid4().hex
        self.metrics = Metrics()
        self.events = events or EventLog(job.model)
        objects = Objects.open(job.store, job.root)
        self._routes = Routes(objects, job.model)
        self._bundles = Bundles(objects)
        self._stop = threading.Event()
        self.address = ""

    async def run(self) -> None:
        """Serve until a signal, then drain."""
        loop = asyncio.get_running_loop()
        stopping = asyncio.Event()
        self._build(loop)
        try:
            await self._listen()
            # What was imported lives as long as the process; looking through it again and again
            # for garbage costs a tenth of a request.
            gc.freeze()
            gc.set_threshold(*_GC_THRESHOLD)
            for signum in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(signum, stopping.set)
            watcher = threading.Thread(
                target=self._follow, args=(loop,), name="watcher", daemon=True
            )
            watcher.start()
            await self._tick_until(stopping)
            await self._drain()
        finally:
            self._close()

    def _build(self, loop: asyncio.AbstractEventLoop) -> None:
        spec = self._spec
        self.spool = Spool(
            self._job.spool, self.id, max_bytes=int(spec.spool_mb * MIB), now_us=_now_us
        )
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        inference = Inference(self.spool, self.metrics, self.events, self._executor)
        self._batcher: Batcher[InferenceQuery] = Batcher(
            inference.run,
            max_rows=spec.max_batch_rows,
            max_queue_rows=max(spec.max_queue_rows, spec.max_batch_rows),
            max_wait_s=spec.max_wait_ms / 1000,
            timeout_s=spec.request_timeout.total_seconds(),
            clock=time.monotonic,
            call_soon=loop.call_soon,
            call_later=loop.call_later,
        )
        inference.release = self._batcher.release
        self.app = App(self._job.model, inference, self._batcher, self.spool, self.metrics)
        self._listener = Listener(
            self.app.handle,
            Limits(max_body_bytes=int(spec.max_body_mb * MIB)),
            Hosts(spec.host, spec.hosts),
            clock=time.monotonic,
            on_failure=self._failed,
        )
        self.metrics.reading(
            "everloop_connections", "Open.", lambda: len(self._listener.connections)
        )

    def _failed(self, error: Exception) -> None:
        self.events.write("error", "request-failed", "a handler failed", error=error)

    async def _listen(self) -> None:
        port = await self._listener.start(self._spec.host, self._spec.port)
        host = f"[{self._spec.host}]" if ":" in self._spec.host else self._spec.host
        self.address = f"{host}:{port}"
        if self._job.address_file is not None:
            _write_whole(self._job.address_file, self.address)
        self.events.write(
            "info", "replica-started", f"listening on http://{self.address}", replica=self.id
        )

    def _follow(self, loop: asyncio.AbstractEventLoop) -> None:
        watcher = RouteWatcher(
            routes=self._routes,
            bundles=self._bundles,
            load=self._load,
            switch=lambda model: _in_loop(loop, self.app, model),
            metrics=self.metrics,
            events=self.events,
            clock=time.monotonic,
        )
        watcher.follow(self._stop, self._spec.poll_interval.total_seconds())

    def _load(self, bundle: Bundle, version: int) -> Model:
        return load_model(
            bundle, version, threads=self._spec.threads, max_rows=self._spec.max_batch_rows
        )

    async def _tick_until(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            try:
                await asyncio.wait_for(stopping.wait(), _SWEEP_S)
            except TimeoutError:
                self._batcher.sweep()
                self.spool.measure()

    async def _drain(self) -> None:
        # A balancer needs a moment to see that this replica is not ready, so connections are
        # taken a little longer; each answer now closes its connection.
        self.app.drain()
        self._listener.is_draining = True
        self.events.write("info", "replica-draining", "no longer ready; finishing what was taken")
        end = time.monotonic() + self._spec.drain_timeout.total_seconds()
        await asyncio.sleep(min(_LINGER_S, self._spec.drain_timeout.total_seconds()))
        await self._listener.stop_accepting()
        # A connection on which nothing has come yet may carry its request any moment now.
        grace = time.monotonic() + _GRACE_S
        while self._listener.connections and time.monotonic() < end:
            if time.monotonic() > grace:
                self._listener.close_idle()
            self._batcher.sweep()
            await asyncio.sleep(_STEP_S)

    def _close(self) -> None:
        self._stop.set()
        self._listener.close()
        self._executor.shutdown(wait=False, cancel_futures=True)
        self.spool.close()
        if self._job.address_file is not None:
            self._job.address_file.unlink(missing_ok=True)
        self.events.write("info", "replica-stopped", "stopped", replica=self.id)


def _in_loop(loop: asyncio.AbstractEventLoop, app: App, model: Model | None) -> None:
    try:
        loop.call_soon_threadsafe(app.switch, model)
    except RuntimeError:
        return  # the replica stopped while the model was loaded


def _now_us() -> int:
    return time.time_ns() // 1000


def _write_whole(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def main() -> None:
    """Run the replica whose job stands, as JSON, in the first argument."""
    run_replica(ServeJob.model_validate_json(sys.argv[1]))
