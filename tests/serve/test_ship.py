import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from everloop.serve.ship import ShipReport, follow, ship
from everloop.serve.spool import PredictionLine, Spool, segments
from everloop.serve.times import to_microseconds
from everloop.spec.errors import UnavailableError
from everloop.spec.project import StoreSpec
from everloop.store.objects import Objects
from everloop.store.tables import Table, Tables


class Place:
    """A spool and the tables it is shipped to."""

    def __init__(self, root: Path) -> None:
        self.spool = root / "spool"
        self.root = root
        self.open_tables()

    def open_tables(self) -> None:
        spec = StoreSpec(url="store")
        tables = Tables(Objects.open(spec, self.root), spec)
        self.predictions, self.labels = tables.table("predictions"), tables.table("labels")

    def ship(self, **limits: int) -> ShipReport:
        return ship(self.spool, self.predictions, self.labels, **limits)

    def replica(self, name: str = "r1", max_bytes: int = 1 << 30) -> Spool:
        return Spool(self.spool, name, max_bytes=max_bytes, now_us=lambda: 1_000_000)


def ids(table: Table) -> list[str]:
    if table.version() < 0:
        return []
    frame = table.scan().select("_prediction_id").collect()
    return sorted(frame["_prediction_id"].to_list())


def line(request: str, rows: int = 1, **more: Any) -> PredictionLine:
    fields: dict[str, Any] = {
        "clock": "hour",
        "numbers": {"distance": [1.5] * rows},
        "categories": {"carrier": ["AA"] * rows},
        "times": {},
        "texts": {"flight": ["12"] * rows},
        "moments": {"hour": [2_000_000] * rows},
    }
    return PredictionLine(request, 1_000_000, 7, rows, [0.5] * rows, **(fields | more))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def add(spool: Spool, *lines: PredictionLine) -> None:
    assert spool.add_predictions([spool.line(one) for one in lines]) is None


def test_predictions_become_rows_of_the_agreed_types(place: Place) -> None:
    spool = place.replica()
    values = {"distance": [1, " 2.5 "]}
    add(spool, line("a"), line("b", 2, numbers=values, categories={"carrier": [None, 3]}))
    report = place.ship()
    assert (report.num_predictions, report.num_pieces) == (3, 1)
    frame = place.predictions.scan().collect()
    assert dict(frame.schema) == {
        "_prediction_id": pl.String(),
        "_received_at": pl.Datetime("us", "UTC"),
        "_time": pl.Datetime("us", "UTC"),
        "_version": pl.Int64(),
        "_replica": pl.String(),
        "hour": pl.Datetime("us", "UTC"),
        "flight": pl.String(),
        "distance": pl.Float64(),
        "carrier": pl.String(),
        "_prediction": pl.Float64(),
    }
    assert frame["_prediction_id"].to_list() == ["a", "b.0", "b.1"]
    assert frame["distance"].to_list() == [1.5, 1.0, 2.5]
    assert frame["carrier"].to_list() == ["AA", None, "3"]
    assert frame["_time"][0] == datetime(1970, 1, 1, 0, 0, 2, tzinfo=UTC)
    spool.close()


def test_a_row_without_its_time_has_none_and_a_model_without_time_takes_the_answers(
    place: Place,
) -> None:
    spool = place.replica()
    add(spool, line("a", moments={}), line("b", clock=None, moments={}))
    place.ship()
    times = place.predictions.scan().collect()["_time"].to_list()
    assert times == [None, datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)]
    spool.close()


def test_probabilities_become_a_list(place: Place) -> None:
    spool = place.replica()
    one = line("a")
    one.predictions = [[0.25, 0.75]]
    add(spool, one)
    place.ship()
    assert place.predictions.scan().collect()["_prediction"].to_list() == [[0.25, 0.75]]
    spool.close()


def test_shipping_again_ships_nothing_twice(place: Place) -> None:
    spool = place.replica()
    add(spool, line("a"))
    place.ship()
    assert place.ship().num_predictions == 0
    add(spool, line("b"))
    assert place.ship().num_predictions == 1
    assert ids(place.predictions) == ["a", "b"]
    spool.close()


def test_pieces_are_bounded_by_rows_and_by_bytes(place: Place) -> None:
    spool = place.replica()
    add(spool, *[line(f"{i:02}") for i in range(20)])
    assert place.ship(piece_rows=6).num_pieces == 4
    add(spool, *[line(f"{i:02}") for i in range(20, 40)])
    assert place.ship(piece_bytes=900).num_pieces > 4
    assert ids(place.predictions) == [f"{i:02}" for i in range(40)]
    spool.close()


def test_shipped_segments_are_removed_and_the_open_one_stays(place: Place) -> None:
    spool = place.replica(max_bytes=1 << 17)
    for i in range(200):
        add(spool, line(f"{i:03}"))
    folder = place.spool / "predictions" / "r1"
    assert len(segments(folder)) > 1
    assert place.ship(piece_bytes=10_000).num_pieces > 4
    assert len(segments(folder)) == 1
    spool.close()
    place.ship()
    assert not folder.exists()
    assert len(ids(place.predictions)) == 200


def test_a_version_with_other_columns_begins_a_piece_of_its_own(place: Place) -> None:
    spool = place.replica()
    add(spool, line("a"), line("b", numbers={"distance": [1.0], "delay": [2.0]}), line("c"))
    assert place.ship().num_pieces == 3
    found = place.predictions.scan().collect().sort("_prediction_id")
    assert found["delay"].to_list() == [None, 2.0, None]
    spool.close()


def test_a_column_that_changes_its_type_lies_beside_the_old_one_and_is_told_once(
    place: Place,
) -> None:
    spool = place.replica()
    add(spool, line("a"))
    place.ship()
    add(spool, line("b", numbers={}, categories={"carrier": ["BB"], "distance": ["far"]}))
    report = place.ship()
    assert report.beside == ["_text:distance"]
    assert str(report).endswith("columns of another type than before lie in _text:distance")
    add(spool, line("c", numbers={}, categories={"carrier": ["CC"], "distance": ["near"]}))
    add(spool, line("d", numbers={"distance": [7]}, texts={}, categories={"flight": ["x"]}))
    assert place.ship().beside == []
    found = place.predictions.scan().collect().sort("_prediction_id")
    assert found["distance"].to_list() == [1.5, None, None, 7.0]
    assert found["_text:distance"].to_list() == [None, "far", "near", None]
    assert found["flight"].to_list() == ["12", "12", "12", "x"]
    spool.close()


def test_answers_to_another_kind_of_task_are_shipped_too(place: Place) -> None:
    spool = place.replica()
    one = line("b")
    one.predictions = [[0.25, 0.75]]
    add(spool, line("a"), one)
    assert place.ship().beside == ["_list:_prediction"]
    found = place.predictions.scan().collect().sort("_prediction_id")
    assert found["_prediction"].to_list() == [0.5, None]
    assert found["_list:_prediction"].to_list() == [None, [0.25, 0.75]]
    spool.close()


@pytest.mark.parametrize(
    ("more", "column", "value"),
    [
        ({"numbers": {"Carrier": [2.0]}, "categories": {}}, "_number:Carrier", 2.0),
        ({"numbers": {"_version": [3.0]}}, "_number:_version", 3.0),
        ({"moments": {"flight": [2_000_000]}, "texts": {}}, "_text:flight", None),
    ],
)
def test_a_name_that_a_table_cannot_hold_a_second_time_stops_no_shipping(
    place: Place, more: dict[str, Any], column: str, value: object
) -> None:
    spool = place.replica()
    add(spool, line("a"), line("b", **more))
    report = place.ship()
    assert report.num_predictions == 2
    found = place.predictions.scan().collect().sort("_prediction_id")
    assert found[column].null_count() == 1
    assert value is None or found[column][1] == value
    assert found["_version"].to_list() == [7, 7]
    spool.close()


def test_a_shipper_that_meets_another_ones_new_column_looks_at_the_table_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = place.replica()
    add(spool, line("a", numbers={"distance": [1.0], "delay": [2.0]}))
    known = [pl.Schema()]
    look = Table.schema
    place.predictions.append(pl.DataFrame({"delay": ["late"]}))
    monkeypatch.setattr(Table, "schema", lambda self: known.pop() if known else look(self))
    assert place.ship().num_predictions == 1
    assert place.predictions.scan().collect()["_number:delay"].to_list() == [None, 2.0]
    spool.close()


def test_what_is_set_aside_is_for_this_user_alone(place: Place) -> None:
    spool = place.replica()
    assert spool.add_predictions([b"{oops}\n"]) is None
    place.ship()
    folder = place.spool / "broken"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [one.stat().st_mode & 0o777 for one in folder.iterdir()] == [0o600]
    spool.close()


def test_labels_arrive_also_for_ids_that_nobody_knows(place: Place) -> None:
    spool = place.replica()
    assert spool.add_labels([("nobody", "true"), ("x.1", "2")]) is None
    assert place.ship().num_labels == 2
    frame = place.labels.scan().collect()
    assert frame.columns == ["_prediction_id", "_label", "_received_at"]
    assert frame["_label"].to_list() == ["true", "2"]
    spool.close()


def test_the_torn_line_of_a_dead_replica_is_reported_once(place: Place) -> None:
    spool = place.replica()
    add(spool, line("a"))
    tail = spool.line(line("b"))[:30]
    folder = place.spool / "predictions" / "r1"
    with segments(folder)[0][1].open("ab") as file:
        file.write(tail)
    assert place.ship().torn == []
    spool.close()
    end = segments(folder)[0][1].stat().st_size - len(tail)
    assert place.ship().torn == [f"r1@{end}"]
    assert place.ship().torn == []
    assert ids(place.predictions) == ["a"]


def test_a_broken_line_is_set_aside_and_the_rest_goes_on(place: Place) -> None:
    spool = place.replica()
    assert spool.add_predictions([b"{oops}\n"]) is None
    report = place.ship()
    assert report.broken == ["r1@0"]
    add(spool, line("a"))
    assert place.ship().broken == []
    assert ids(place.predictions) == ["a"]
    assert (place.spool / "broken" / "predictions-r1-0.jsonl").read_bytes() == b"{oops}"
    spool.close()


def test_a_shipper_that_died_before_it_removed_a_segment_ships_it_no_second_time(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = place.replica()
    add(spool, line("a"))
    spool.close()
    monkeypatch.setattr("everloop.serve.ship._Shipper._remove", lambda *_: None)
    place.ship()
    monkeypatch.undo()
    place.open_tables()
    assert place.ship().num_predictions == 0
    assert ids(place.predictions) == ["a"]
    assert not (place.spool / "predictions" / "r1").exists()


def test_two_shippers_do_not_work_on_one_spool(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = place.replica()
    add(spool, line("a"))

    def second(*_: Any, **__: Any) -> int:
        with pytest.raises(UnavailableError, match="another shipper"):
            place.ship()
        return 0

    monkeypatch.setattr(place.predictions, "append", second)
    place.ship()
    spool.close()


def test_following_goes_on_after_the_store_was_away() -> None:
    told: list[str] = []
    rounds: list[UnavailableError | ShipReport] = [
        UnavailableError("away"),
        ShipReport(num_predictions=2, num_pieces=1),
        ShipReport(),
    ]
    stop = threading.Event()

    def once() -> ShipReport:
        result = rounds.pop(0)
        if not rounds:
            stop.set()
        if isinstance(result, Exception):
            raise result
        return result

    follow(once, wait=lambda _: stop.is_set(), tell=told.append)
    assert told == ["nothing shipped: away", "shipped 2 predictions and 0 labels"]


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_that_its_zone_moves_out_of_all_years_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="expected a time of the years 1 to 9999 in UTC"):
        to_microseconds(text)
