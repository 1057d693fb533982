"""Every path a replica answers, and what stands behind each."""

import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

import everloop
from everloop.serve import records, v2
from everloop.serve.batcher import Batcher
from everloop.serve.http.messages import TEXT, Refused, Reply, Request
from everloop.serve.inference import Encode, IdSource, Inference, InferenceQuery
from everloop.serve.inputs import InputForm, Rows
from everloop.serve.metrics import Metrics
from everloop.serve.model import Model
from everloop.serve.router import Params, Router
from everloop.serve.spool import Spool

_encode = msgspec.json.Encoder().encode
EXTENSIONS: tuple[str, ...] = ()

Read = Callable[[bytes, Model], tuple[str | None, Rows]]


class App:
    """The handlers of one replica.

    Attributes:
        model: What serves now; None until a route was loaded.
        is_draining: Whether the replica is about to stop.
    """

    def __init__(
        self,
        name: str,
        inference: Inference,
        batcher: Batcher[InferenceQuery],
        spool: Spool,
        metrics: Metrics,
    ) -> None:
        self._name = name
        self._inference = inference
        self._batcher = batcher
        self._spool = spool
        self._metrics = metrics
        self._ids = IdSource()
        self.model: Model | None = None
        self.is_draining = False
        self._router = _routes(self)
        metrics.reading("everloop_queue_depth", "Rows waiting.", lambda: batcher.num_rows)
        metrics.reading("everloop_spool_size_bytes", "On disk.", lambda: spool.size_bytes)
        metrics.reading("process_cpu_seconds_total", "CPU time.", time.process_time)
        metrics.reading("process_resident_memory_bytes", "Memory.", _resident_bytes)

    def handle(self, request: Request, reply: Reply) -> None:
        """Answer one request, now or later.

        Raises:
            Refused: What the client is told instead.
        """
        try:
            self._router.handle(request, reply)
        except Refused as refused:
            self._metrics.refused.at(str(refused.status)).value += 1
            raise

    def switch(self, model: Model | None) -> None:
        """Serve this model from the next request on; what is queued ends with the one before."""
        self.model = model
        self._metrics.model.clear()
        if model is not None:
            self._metrics.model.at(self._name, str(model.version)).value = 1
        self._metrics.ready.at().value = float(model is not None and not self.is_draining)

    def drain(self) -> None:
        """Say that this replica is no longer ready; requests are still answered."""
        self.is_draining = True
        self._metrics.ready.at().value = 0

    # Health and metadata.

    def live(self, _: Request, reply: Reply, __: Params) -> None:
        """Answer whether the process runs."""
        reply.respond(200, b'{"live":true}')

    def ready(self, _: Request, reply: Reply, __: Params) -> None:
        """Answer whether a model is loaded."""
        if self.is_draining:
            raise _draining()
        if self.model is None:
            raise _not_ready()
        reply.respond(200, b'{"ready":true}')

    def server(self, _: Request, reply: Reply, __: Params) -> None:
        """Answer what this server is."""
        about = {"name": "everloop", "version": everloop.__version__, "extensions": EXTENSIONS}
        reply.respond(200, _encode(about))

    def models(self, _: Request, reply: Reply, __: Params) -> None:
        """List the models."""
        reply.respond(200, _encode({"models": [self._name]}))

    def metadata(self, _: Request, reply: Reply, params: Params) -> None:
        """Answer what the model takes and gives."""
        model = self._wanted(params)
        reply.respond(200, v2.metadata(model.manifest, model.version))

    def model_ready(self, _: Request, reply: Reply, params: Params) -> None:
        """Answer whether this model is loaded."""
        if self.is_draining:
            raise _draining()
        self._wanted(params)
        reply.respond(200, _encode({"name": self._name, "ready": True}))

    def index(self, request: Request, reply: Reply, _: Params) -> None:
        """List the models with their state."""
        only_ready = v2.read_index(request.body)
        model = self.model
        if model is not None:
            found = [
                {"name": self._name, "version": str(model.version), "state": "READY", "reason": ""}
            ]
        else:
            reason = "no version is routed yet"
            found = [{"name": self._name, "state": "UNAVAILABLE", "reason": reason}]
        reply.respond(200, _encode([] if only_ready and model is None else found))

    def metrics(self, _: Request, reply: Reply, __: Params) -> None:
        """Answer every count, for Prometheus."""
        reply.respond(200, self._metrics.text(), TEXT)

    # Predictions and labels.

    def infer(self, request: Request, reply: Reply, params: Params) -> None:
        """Predict, in the Open Inference Protocol."""
        if b"inference-header-content-length" in request.headers:
            raise Refused(400, "binary tensors are not offered here; send JSON data")
        self._predict(request, reply, self._wanted(params), ("v2", _read_v2, _answer_v2))

    def predict(self, request: Request, reply: Reply, _: Params) -> None:
        """Predict rows given as dictionaries."""
        model = self._wanted((self._name,))
        self._predict(request, reply, model, ("rows", _read_rows, _answer_rows))

    def _predict(
        self, request: Request, reply: Reply, model: Model, form: tuple[str, Read, Encode]
    ) -> None:
        protocol, read, encode = form
        try:
            _check_plain(request)
            given, rows = read(request.body, model)
            request_id = given or self._ids.next()
            query = InferenceQuery(
                request_id, model, rows, reply, protocol, encode, self._inference.refuse
            )
            self._batcher.add(query)
        except Refused as refused:
            code = str(refused.status)
            self._metrics.requests.at(self._name, str(model.version), protocol, code).value += 1
            raise

    def labels(self, request: Request, reply: Reply, _: Params) -> None:
        """Take labels; they are on disk before the answer leaves."""
        _check_plain(request)
        labels = records.read_labels(request.body)
        failure = self._spool.add_labels(labels) if labels else None
        if failure is not None:
            self._metrics.labels.at("refused").value += len(labels)
            raise Refused(503, "there is no room for labels; retry later", retry_after_s=5)
        self._metrics.labels.at("accepted").value += len(labels)
        reply.respond(202, _encode({"accepted": len(labels)}))

    def _wanted(self, params: Params) -> Model:
        name, *version = params
        if name != self._name:
            raise Refused(404, f"unknown model {name[:64]!r}; this server has {self._name!r}")
        model = self.model
        if model is None:
            raise _not_ready()
        if version and version[0] != str(model.version):
            raise Refused(404, f"version {version[0][:32]!r} is not served; {model.version} is")
        return model


# Made anew each time: an exception that is raised again and again keeps every traceback.
def _not_ready() -> Refused:
    return Refused(503, "no model is loaded yet; retry later", retry_after_s=1)


def _draining() -> Refused:
    return Refused(503, "the server is stopping; ask another one", retry_after_s=1)


def _resident_bytes() -> float:
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return 0.0
    return float(int(pages) * resource.getpagesize())


def _check_plain(request: Request) -> None:
    encoding = request.headers.get(b"content-encoding", b"identity")
    if encoding.strip().lower() != b"identity":
        raise Refused(400, "Content-Encoding: compressed bodies are not offered here")


def _read_v2(body: bytes, model: Model) -> tuple[str | None, Rows]:
    return v2.read_infer(body, model.form, model.manifest)


def _read_rows(body: bytes, model: Model) -> tuple[str | None, Rows]:
    form: InputForm = model.form
    return records.read_predict(body, form)


def _answer_v2(model: Model, request_id: str, predictions: list[Any]) -> bytes:
    return model.head.infer(request_id, predictions)


def _answer_rows(model: Model, request_id: str, predictions: list[Any]) -> bytes:
    return records.predict_answer(model.manifest, model.version, request_id, predictions)


def _routes(app: App) -> Router:
    router = Router()
    router.add("GET", "/v2/health/live", app.live)
    router.add("GET", "/v2/health/ready", app.ready)
    router.add("GET", "/v2", app.server)
    router.add("GET", "/v2/models", app.models)
    router.add("POST", "/v2/repository/index", app.index)
    for model in ("/v2/models/{}", "/v2/models/{}/versions/{}"):
        router.add("GET", model, app.metadata)
        router.add("GET", f"{model}/ready", app.model_ready)
        router.add("POST", f"{model}/infer", app.infer)
    router.add("POST", "/v1/predict", app.predict)
    router.add("POST", "/v1/labels", app.labels)
    router.add("GET", "/metrics", app.metrics)
    return router
