from everloop.loop.dataset import LABELS, PREDICTIONS
from everloop.loop.shipping import Shipping
from everloop.loop.workspace import Workspace
from everloop.serve.spool import Spool
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
