"""Send a year of flights, in order, to a running server, as an airline's own system would.

Each request holds the flights of one airport and hour, with what is known before departure: the
schedule, the route, and the weather last observed an hour before. What became of a flight is posted
a day later. Between two days the replay waits until the loop has seen the first, as a real day
would give it the time to.
"""

import http.client
import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import polars as pl

LABEL_DELAY = timedelta(days=1)
LABELS_PER_POST = 5000
REQUEST_TIMEOUT_S = 30.0


@dataclass
class Tally:
    """What the client saw.

    Attributes:
        latencies_ms: Of each prediction request that was answered.
        requests: Prediction requests sent.
        failed: Of these, those not answered with 200.
        labels: Labels the server took.
        errors: The first few failures, in words.
    """

    latencies_ms: list[float] = field(default_factory=list)
    requests: int = 0
    failed: int = 0
    labels: int = 0
    errors: list[str] = field(default_factory=list)

    def quantile_ms(self, share: float) -> float:
        """Return a quantile of the latencies, in milliseconds."""
        ordered = sorted(self.latencies_ms)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class Client:
    """One keep-alive connection to a server of the Open Inference Protocol."""

    def __init__(self, url: str, model: str) -> None:
        self._host, self._port = urlsplit(url).hostname or "127.0.0.1", urlsplit(url).port
        self._model = model
        self._connection: http.client.HTTPConnection | None = None
        self.tally = Tally()

    def predict(self, rows: pl.DataFrame, datatypes: Mapping[str, str]) -> str:
        """Ask for the predictions of some rows; return the request's id, failed or not."""
        request_id = uuid.uuid4().hex
        inputs = [
            {"name": n, "shape": [len(rows)], "datatype": datatypes[n], "data": rows[n].to_list()}
            for n in datatypes
        ]
        started = time.perf_counter()
        status, answer = self._post(
            f"/v2/models/{self._model}/infer", {"id": request_id, "inputs": inputs}
        )
        self.tally.requests += 1
        if status == http.client.OK:
            self.tally.latencies_ms.append((time.perf_counter() - started) * 1000)
        else:
            self.tally.failed += 1
            self.tally.errors = [*self.tally.errors, f"{status}: {answer[:200]}"][:5]
        return request_id

    def label(self, labels: list[dict[str, object]]) -> None:
        """Post what became of earlier predictions; a refused post is tried again."""
        for start in range(0, len(labels), LABELS_PER_POST):
            piece = labels[start : start + LABELS_PER_POST]
            for _ in range(10):
                status, answer = self._post("/v1/labels", {"labels": piece})
                if status < http.client.BAD_REQUEST:
                    self.tally.labels += len(piece)
                    break
            else:
                raise RuntimeError(f"the server took no labels: {status}: {answer}")

    def _post(self, path: str, body: object) -> tuple[int, str]:
        if self._connection is None:
            self._connection = http.client.HTTPConnection(
                self._host, self._port, timeout=REQUEST_TIMEOUT_S
            )
        try:
            headers = {"Content-Type": "application/json"}
            self._connection.request("POST", path, json.dumps(body), headers)
            response = self._connection.getresponse()
            return response.status, response.read().decode()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            self._connection = None
            return 0, f"{type(error).__name__}: {error}"


def replay(
    rows: pl.DataFrame,
    client: Client,
    *,
    features: tuple[str, ...],
    day_is_over: Callable[[datetime], None],
    tell: Callable[[datetime, Tally], None],
) -> None:
    """Send every row in order, and each day's labels a day later.

    Args:
        rows: Features, ``scheduled`` and ``late`` (null for a cancelled flight), in order of
            ``scheduled``.
        client: Sends.
        features: Input columns of the model.
        day_is_over: Called with the newest time sent; returns when the loop has seen it.
        tell: Told how far it is, once a day.
    """
    datatypes = {name: _datatype(rows[name].dtype) for name in (*features, "scheduled")}
    sent = rows.select(
        *(_wire(rows, name) for name in datatypes),
        "late",
        pl.col("scheduled").alias("_at"),
        pl.col("scheduled").dt.truncate("1h").alias("_hour"),
    )
    waiting: list[tuple[datetime, dict[str, object]]] = []
    for day, newest in _days(rows):
        today = sent.filter(pl.col("_at").is_between(day, newest))
        for _, group in today.group_by("_hour", "origin", maintain_order=True):
            request_id = client.predict(group, datatypes)
            waiting += _labels(request_id, group)
        known = newest - LABEL_DELAY
        client.label([label for at, label in waiting if at <= known])
        waiting = [(at, label) for at, label in waiting if at > known]
        day_is_over(newest)
        tell(newest, client.tally)


def _days(rows: pl.DataFrame) -> Iterator[tuple[datetime, datetime]]:
    for _, day in (
        rows.group_by_dynamic("scheduled", every="1d")
        .agg(first=pl.col("scheduled").min(), last=pl.col("scheduled").max())
        .select("scheduled", pl.struct("first", "last"))
        .iter_rows()
    ):
        yield day["first"], day["last"]


def _labels(request_id: str, group: pl.DataFrame) -> list[tuple[datetime, dict[str, object]]]:
    ids = [request_id] if len(group) == 1 else [f"{request_id}.{i}" for i in range(len(group))]
    return [
        (at, {"id": prediction_id, "label": late})
        for prediction_id, at, late in zip(ids, group["_at"], group["late"], strict=True)
        if late is not None
    ]


def _datatype(dtype: pl.DataType) -> str:
    return "FP64" if dtype.is_numeric() else "BYTES"


def _wire(rows: pl.DataFrame, name: str) -> pl.Expr:
    if rows[name].dtype.is_temporal():
        return pl.col(name).dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    return pl.col(name)
