"""A local S3 server, and a store of each sort with nothing in it."""

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from everloop.spec.project import StoreSpec
from everloop.store.objects import Objects

PLACES = ("local", "s3")
"""Every sort of store; a new one joins here and in `store_spec`."""


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port, server)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def _wait_for(port: int, server: "subprocess.Popen[bytes]") -> None:
    pause = threading.Event()
    for _ in range(600):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        assert server.poll() is None, "the S3 server did not start"
        pause.wait(0.05)
    raise AssertionError("the S3 server did not answer within 30 s")


@pytest.fixture(params=PLACES)
def store_spec(request: pytest.FixtureRequest) -> StoreSpec:
    if request.param == "local":
        return StoreSpec(url="state")
    endpoint = request.getfixturevalue("s3_endpoint")
    bucket = f"bucket-{secrets.token_hex(6)}"
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{bucket}", method="PUT")).close()
    os.environ["EVERLOOP_TEST_KEY"] = "not-a-secret"
    options = {
        "aws_endpoint": endpoint,
        "aws_region": "us-east-1",
        "aws_access_key_id": "tester",
        "aws_secret_access_key": "${EVERLOOP_TEST_KEY}",
    }
    return StoreSpec.model_validate({"url": f"s3://{bucket}/below/it", "options": options})


@pytest.fixture
def reopen(store_spec: StoreSpec, tmp_path: Path) -> Callable[[], Objects]:
    """Open the same store again, as another process would."""
    return lambda: Objects.open(store_spec, tmp_path)


@pytest.fixture
def objects(reopen: Callable[[], Objects]) -> Objects:
    return reopen()
