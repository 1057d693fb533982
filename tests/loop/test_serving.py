"""From a project file to answers over HTTP, and from labels back to what is learned from."""

import http.client
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from everloop.frameworks.scoring import score_frame
from everloop.loop.dataset import cut_now, labelled_rows
from everloop.loop.shipping import Shipping
from everloop.loop.watch import Watch, read_status
from everloop.testing import make_rows
from everloop.testing.projects import Target
from tests.loop.conftest import Small

WAIT_S = 30.0


@contextmanager
def serving(small: Small) -> Iterator[tuple[str, int]]:
    address = small.folder / "address"
    command = [sys.executable, "-m", "everloop", "serve", "--project", str(small.folder)]
    process = subprocess.Popen([*command, "--address-file", str(address)])
    pause = threading.Event()
    try:
        for _ in range(int(WAIT_S / 0.02)):
            if address.exists():
                break
            pause.wait(0.02)
        host, _, port = address.read_text().rpartition(":")
        for _ in range(int(WAIT_S / 0.02)):
            if ask(host, int(port), "GET", "/v2/health/ready")[0] == 200:
                break
            pause.wait(0.02)
        yield host, int(port)
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0
    finally:
        process.kill()
        process.wait()


def ask(host: str, port: int, method: str, path: str, body: object = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(host, port, timeout=WAIT_S)
    try:
        connection.request(method, path, None if body is None else json.dumps(body))
        response = connection.getresponse()
        text = response.read()
        return response.status, json.loads(text) if text else None
    finally:
        connection.close()


def sent(rows: pl.DataFrame, *, timed: bool) -> list[dict[str, Any]]:
    at = [pl.col("at").dt.strftime("%Y-%m-%dT%H:%M:%SZ")] if timed else []
    return rows.select("id", "size", "weight", "colour", *at).to_dicts()


@pytest.mark.parametrize(
    ("target", "time"),
    [("binary", None), ("text", "at"), ("multiclass", "at"), ("regression", "at")],
)
def test_what_is_served_and_labelled_is_learned_from(
    tmp_path: Path, target: Target, time: str | None
) -> None:
    settings: dict[str, Any] = {
        "train": {"rows": "feedback"},
        "retrain": {"after_rows": 100, "cooldown": "1h" if time else "0s"},
    }
    small = Small(tmp_path, target=target, time=time, settings=settings)
    small.run()
    rows = make_rows(120, first=2000, target=target)
    with serving(small) as (host, port):
        body = {"id": "q", "rows": sent(rows, timed=time is not None)}
        status, answer = ask(host, port, "POST", "/v1/predict", body)
        assert status == 200
        expected = score_frame(small.ws.version_bundle(1), rows)
        assert np.allclose(np.array(answer["predictions"]), expected, atol=1e-5)
        labels = [{"id": f"q.{i}", "label": label} for i, label in enumerate(rows["label"])]
        status, _ = ask(host, port, "POST", "/v1/labels", {"labels": labels})
        assert status < 300
    Shipping(small.ws).ship()
    found = labelled_rows(small.ws, cut_now(small.ws)).collect()
    assert found.height == 2120
    learned = found["_label"].to_list()[2000:]
    assert [str(v) for v in learned] == [
        str(float(v)) if target == "multiclass" else str(v) for v in rows["label"]
    ]
    Watch(small.reopen()).look()
    note = read_status(small.ws)
    assert note is not None
    assert note.trouble == ""
    assert small.decided()[2] == "retrain"
    small.check()
    live = small.ws.tables.table("metrics").scan().filter(pl.col("kind") == "live").collect()
    assert live["num_rows"].unique().to_list() == [120]
    assert live["value"].null_count() < live.height
