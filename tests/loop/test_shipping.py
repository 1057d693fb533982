import fcntl
import os
from typing import Any

import pytest

from everloop.loop.dataset import LABELS, PREDICTIONS
from everloop.loop.shipping import Shipping, read_shipping
from everloop.loop.workspace import Workspace
from everloop.serve.ship import ShipReport
from everloop.serve.spool import Spool
from everloop.spec.errors import UnavailableError
from everloop.testing import ManualClock, make_rows
from tests.loop.conftest import Small


def test_what_lies_in_the_spool_is_committed_once(small: Small) -> None:
    small.run()
    small.serve_labelled(make_rows(5, first=2000))
    report = Shipping(small.ws).ship()
    assert (report.num_predictions, report.num_labels) == (0, 0)
    assert small.ws.tables.table(PREDICTIONS).num_rows() == 5
    assert small.ws.tables.table(LABELS).num_rows() == 5


def test_nothing_served_is_nothing_shipped(small: Small) -> None:
    assert str(Shipping(small.ws).ship()) == "shipped 0 predictions and 0 labels"


def test_many_small_commits_are_merged_without_a_row_lost(small: Small) -> None:
    shipping = Shipping(small.ws)
    spool = Spool(small.ws.spool, "r", max_bytes=1 << 20, now_us=lambda: 1)
    for number in range(70):
        spool.add_labels([(f"r{number}", "true")])
        shipping.ship()
    spool.close()
    table = small.ws.tables.table(LABELS)
    assert len(table.files()) < 10
    assert table.scan().collect()["_prediction_id"].to_list() == [f"r{n}" for n in range(70)]


def test_following_ends_with_a_last_round(small: Small) -> None:
    spool = Spool(small.ws.spool, "r", max_bytes=1 << 20, now_us=lambda: 1)
    spool.add_labels([("r1", "true")])
    spool.close()
    clock = ManualClock()
    clock.stop()
    Shipping(Workspace.open(small.folder, clock=clock)).follow()
    assert small.ws.tables.table(LABELS).num_rows() == 1


def follow_once(small: Small) -> list[str]:
    """Follow until the first wait; returns what was told."""
    clock, told = ManualClock(), list[str]()
    clock.stop()
    Shipping(Workspace.open(small.folder, clock=clock), told.append).follow()
    return told


def trouble_of(small: Small) -> str:
    status = read_shipping(small.ws)
    assert status is not None
    return status.trouble


def test_trouble_is_told_and_noted_until_it_is_over(small: Small) -> None:
    small.ws.spool.mkdir(parents=True)
    lock = os.open(small.ws.spool / ".shipper", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    (said,) = follow_once(small)
    assert said.startswith("nothing is shipped: ")
    assert "another shipper works on this spool" in said
    assert trouble_of(small) == said
    os.close(lock)
    assert follow_once(small) == []
    assert trouble_of(small) == ""


def test_lines_that_cannot_be_read_are_told_and_noted(small: Small) -> None:
    spool = Spool(small.ws.spool, "r", max_bytes=1 << 20, now_us=lambda: 1)
    spool.add_labels([("r1", "true")])
    spool.close()
    (segment,) = (small.ws.spool / "labels").rglob("*.jsonl")
    segment.write_bytes(b"neither\n" + segment.read_bytes())
    (said,) = follow_once(small)
    assert said.startswith("lines that could not be read: 1, in ")
    assert trouble_of(small) == said
    assert small.ws.tables.table(LABELS).num_rows() == 1


def test_a_store_that_is_away_is_noted_once_it_is_back(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = iter([UnavailableError("the store is away"), None, None])

    def ship(*_: Any) -> ShipReport:
        if (error := next(rounds)) is not None:
            raise error
        return ShipReport()

    def put(*_: Any) -> None:
        raise UnavailableError("the store is away")

    monkeypatch.setattr("everloop.loop.shipping.ship", ship)
    with monkeypatch.context() as patch:
        patch.setattr("everloop.store.objects.Objects.put", put)
        assert follow_once(small) == ["nothing is shipped: the store is away"]
    assert read_shipping(small.ws) is None
    assert follow_once(small) == []
    assert trouble_of(small) == ""
