"""The pages over HTTP, from a real server on a free port."""

import http.client
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib.image
import pytest

from everloop.console.pages import StatusData
from everloop.console.records import ReportData
from everloop.console.report import write_report
from everloop.console.server import PageServer, make_app
from everloop.spec.errors import UnavailableError

Get = Callable[..., tuple[int, dict[str, str], str]]


@contextmanager
def _running(server: PageServer) -> Iterator[PageServer]:
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join(timeout=10)
        assert not thread.is_alive()


def _getter(server: PageServer) -> Get:
    address = server.url.removeprefix("http://").rstrip("/")

    def get(path: str, host: str = address, method: str = "GET") -> tuple[int, dict[str, str], str]:
        connection = http.client.HTTPConnection(address, timeout=10)
        connection.putrequest(method, path, skip_host=True)
        connection.putheader("Host", host)
        connection.endheaders()
        answer = connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        body = answer.read().decode()
        connection.close()
        return answer.status, headers, body

    return get


@pytest.fixture(scope="module")
def server(
    status_data: StatusData, report_data: ReportData, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PageServer]:
    folder = tmp_path_factory.mktemp("pages")
    reports = folder / "reports"
    write_report(report_data, reports)
    (reports / ".hidden.html").write_text("hidden")
    (reports / "model.onnx").write_text("model")
    (folder / "secret.html").write_text("secret")
    (reports / "link.html").symlink_to(folder / "secret.html")
    app = make_app(lambda: status_data, reports=reports, hosts=["pages.example"])
    with _running(PageServer(app, port=0)) as running:
        yield running


def test_the_overview_is_served_with_headers_that_bind_the_browser(server: PageServer) -> None:
    status, headers, body = _getter(server)("/")
    assert status == 200
    assert "version 12" in body
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "http" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert not [name for name in headers if name.startswith("access-control")]
    assert "server" not in headers


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:80", "pages.example"])
def test_a_host_of_this_machine_or_a_configured_one_is_answered(
    server: PageServer, host: str
) -> None:
    assert _getter(server)("/healthz", host=host)[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "localhost@evil"])
def test_a_foreign_host_is_refused(server: PageServer, host: str) -> None:
    status, headers, body = _getter(server)("/", host=host)
    assert status == 400
    assert "flights" not in body
    assert "content-security-policy" in headers


def test_the_status_is_there_for_machines(server: PageServer, status_data: StatusData) -> None:
    status, _, body = _getter(server)("/status.json")
    assert status == 200
    assert StatusData.model_validate(json.loads(body)) == status_data


def test_a_report_is_served_and_nothing_around_it(server: PageServer) -> None:
    get = _getter(server)
    status, headers, body = get("/reports/report.html")
    assert status == 200
    assert "A year of flights, replayed" in body
    assert "default-src 'none'" in headers["content-security-policy"]
    for path in (
        *(".hidden.html", "model.onnx", "link.html", "", "no.html"),
        *("../secret.html", "%2e%2e/secret.html", "..%2fsecret.html", "/etc/passwd"),
    ):
        status, _, body = get(f"/reports/{path}")
        assert status == 404, path
        assert "secret" not in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_the_pages_can_only_be_read(server: PageServer, method: str) -> None:
    assert _getter(server)("/", method=method)[0] == 405


def test_a_store_that_is_away_is_said_on_the_page_and_looked_for_again() -> None:
    def load() -> StatusData:
        raise UnavailableError("the store at s3://bucket does not answer")

    with _running(PageServer(make_app(load), port=0)) as running:
        status, _, body = _getter(running)("/")
        assert status == 503
        assert "s3://bucket does not answer" in body
        assert 'http-equiv="refresh"' in body
        assert _getter(running)("/status.json")[0] == 503
        assert _getter(running)("/reports/report.html")[0] == 404


def test_a_taken_port_says_what_to_do(server: PageServer, status_data: StatusData) -> None:
    port = int(server.url.rstrip("/").rpartition(":")[2])
    with pytest.raises(UnavailableError, match=rf"127\.0\.0\.1 port {port}: .*another port"):
        PageServer(make_app(lambda: status_data), port=port)


def test_the_package_itself_loads_nothing_heavy() -> None:
    heavy = "{'matplotlib', 'jinja2', 'starlette', 'uvicorn'} & set(sys.modules)"
    code = f"import sys, everloop.console, everloop.console.records; sys.exit(bool({heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_browser_test_would_see_a_complaint(
    screenshot: Callable[[str], tuple[Path, str]], tmp_path: Path
) -> None:
    page = tmp_path / "bad.html"
    page.write_text("<script>console.error('broken')</script>")
    assert "CONSOLE" in screenshot(page.as_uri())[1]


@pytest.mark.parametrize("path", ["", "reports/report.html"])
def test_a_browser_shows_the_page_without_a_complaint(
    server: PageServer, screenshot: Callable[[str], tuple[Path, str]], path: str
) -> None:
    picture, log = screenshot(server.url + path)
    assert "CONSOLE" not in log
    pixels = matplotlib.image.imread(picture)[..., :3]
    assert pixels.shape[:2] == (2600, 1180)
    is_ink = pixels.mean(axis=2) < 0.5
    assert 0.005 < is_ink.mean() < 0.5
    # Every tenth of the page has something on it.
    assert all(band.any() for band in is_ink[:2400].reshape(10, 240, -1))
