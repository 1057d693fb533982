import http.client
import threading
from pathlib import Path

import pytest

from everloop.console.pages import status_page
from everloop.console.status import page_server, read_page, version_lines
from everloop.loop.controller import Controller
from everloop.loop.watch import Watch
from everloop.registry.gc import collect
from everloop.testing import add_rows, make_rows
from tests.loop.conftest import Small


@pytest.fixture
def small(tmp_path: Path) -> Small:
    return Small(tmp_path / "small")


def test_a_project_that_never_ran_has_a_page(small: Small) -> None:
    data = read_page(small.ws)
    assert (data.champion, data.versions, data.decisions) == (None, (), ())
    assert "small" in status_page(data)


def test_the_page_says_what_the_gate_and_the_manifest_say(small: Small) -> None:
    small.run()
    data = read_page(small.ws)
    assert data.champion is not None
    assert data.champion.version.number == 1
    assert data.champion.version.note == "champion"
    assert data.versions[0].gate_metric == pytest.approx(0.34, abs=0.05)
    assert data.gate_metric == "log_loss"
    assert data.clean_rows == {"main": 2000}
    assert [d.kind for d in data.decisions] == ["retrain", "promote"]
    assert "log_loss" in status_page(data)


def test_live_metrics_and_drift_are_shown_once_they_were_measured(small: Small) -> None:
    small.run()
    small.serve_labelled(make_rows(200, first=2000))
    Watch(small.ws).look()
    data = read_page(small.ws)
    assert data.windows[-1].rows == 200
    assert set(data.windows[-1].values) == {"auc", "log_loss", "brier", "accuracy"}
    assert {d.column for d in data.drift} == {"size", "weight", "colour", "probability"}
    assert data.stream_time is not None
    assert data.stream_time.startswith("2024-01-16")
    assert status_page(data)


def test_versions_whose_bundle_was_freed_are_left_out(small: Small) -> None:
    small.run()
    for number in range(3):
        add_rows(small.folder, make_rows(5, first=2000 + 5 * number))
        small.run()
    small.ws.bundles.delete(small.ws.registry.version(2).bundle)
    collect(small.ws.objects, small.ws.tables, "small", keep=1, dry_run=False)
    assert [line.number for line in version_lines(small.ws)] == [1, 3, 4]
    Controller(small.ws).promote_by_hand(3, "")
    champion = read_page(small.ws).champion
    assert champion is not None
    assert champion.version.number == 3


def test_the_page_is_served_to_a_browser_and_nothing_can_be_changed(small: Small) -> None:
    small.run()
    server = page_server(small.ws, port=0)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    host, _, port = server.url.removeprefix("http://").rstrip("/").rpartition(":")
    found = []
    for method in ("GET", "POST"):
        connection = http.client.HTTPConnection(host, int(port), timeout=20)
        connection.request(method, "/")
        response = connection.getresponse()
        found.append((response.status, b"champion" in response.read().lower()))
        connection.close()
    assert found[0] == (200, True)
    assert found[1][0] == 405
    server.stop()
    thread.join(20)


def test_trouble_of_the_loop_is_shown(small: Small) -> None:
    small.run()
    assert (read_page(small.ws).troubles, read_page(small.ws).looked_at) == ((), None)
    (small.folder / "rows" / "000000.csv").write_text("something else\n")
    Watch(small.ws, lambda _: None).look()
    data = read_page(small.ws)
    assert data.looked_at is not None
    (trouble,) = data.troubles
    assert "000000.csv" in trouble
    assert trouble.split("'")[0] in status_page(data)
