import json
import random
from pathlib import Path
from typing import Any

import pytest

INFER = "/v2/models/flights/infer"


def tensor(name: str, data: Any, datatype: str = "FP32", shape: Any = None) -> dict[str, Any]:
    return {"name": name, "shape": shape or [len(data)], "datatype": datatype, "data": data}


def body(*extra: Any, distance: Any = (1.0, 2.0), carrier: Any = ("AA", "UA"), **more: Any) -> Any:
    inputs = [tensor("distance", list(distance)), tensor("carrier", list(carrier), "BYTES")]
    return {"inputs": [*inputs, *extra], **more}


def test_an_inference_is_answered_as_the_protocol_says(app: Any) -> None:
    told = app.post(INFER, body(id="q"))
    assert told.status == 200
    assert told.body == {
        "model_name": "flights",
        "model_version": "1",
        "id": "q",
        "outputs": [
            {"name": "prediction", "datatype": "FP32", "shape": [2], "data": [1001.0, 2002.0]}
        ],
    }


def test_nested_data_nulls_and_a_version_are_taken(app: Any) -> None:
    inputs = [
        tensor("distance", [[None], [2.0]], shape=[2, 1]),
        tensor("carrier", [None, " UA "], "BYTES"),
    ]
    told = app.post("/v2/models/flights/versions/1/infer", {"inputs": inputs})
    assert told.body["outputs"][0]["data"] == [100.0, 2002.0]


def test_an_id_is_made_up_where_none_is_given(app: Any) -> None:
    ids = {app.post(INFER, body()).body["id"] for _ in range(300)}
    assert len(ids) == 300
    assert {len(text) for text in ids} == {32}


def test_rows_are_predicted_and_logged_with_what_they_bring_along(app: Any) -> None:
    row = {"distance": 1, "carrier": "AA", "time_hour": "2013-06-01T12:00:00Z", "flight": 12}
    told = app.post("/v1/predict", {"rows": [row], "id": "q"})
    assert told.body == {"id": "q", "model_version": "1", "predictions": [1001.0]}
    assert app.lines() == [
        {
            "id": "q",
            "at": 1_000_000,
            "version": 1,
            "rows": 1,
            "predictions": [1001.0],
            "clock": "time_hour",
            "numbers": {"distance": [1]},
            "categories": {"carrier": ["AA"]},
            "times": {},
            "texts": {"flight": ["12"]},
            "moments": {"time_hour": [1_370_088_000_000_000]},
        }
    ]


def test_one_batch_answers_each_request_with_its_own_rows(app: Any) -> None:
    told = [app.send(INFER, body(distance=[i, i], id=str(i))) for i in range(10)]
    app.turn()
    for i, one in enumerate(told):
        assert one.body["outputs"][0]["data"] == [1000.0 + i, 2000.0 + i]
    assert app.metrics.batch.at().total == 20


def test_a_bad_value_fails_its_own_request_alone(app: Any) -> None:
    good, bad = app.send(INFER, body()), app.send(INFER, body(distance=["x", "1"]))
    other = app.send(INFER, body())
    app.turn()
    assert [good.status, bad.status, other.status] == [200, 400, 200]
    assert bad.body["error"].startswith("column 'distance', row 0: found 'x'")
    assert len(app.lines()) == 2


BAD: list[tuple[Any, int, str]] = [
    (b"", 400, "body is not what is expected"),
    (b"\xff", 400, "body"),
    (b"[]", 400, "Expected `object`"),
    (b"{}", 400, "missing required field `inputs`"),
    ({"inputs": []}, 400, "expected one for each column"),
    ({"inputs": [tensor("distance", [1.0])]}, 400, "'carrier' is missing"),
    (body(tensor("distanc", [1, 2])), 400, "'distanc'; did you mean 'distance'?"),
    (body(tensor("distance", [1, 2])), 400, "'distance' is given twice"),
    (body(distance=[1.0]), 400, "found 2 rows, others have 1"),
    (body(tensor("flight", [1], shape=[2])), 400, "found 1 values, expected 2 by shape"),
    (body(tensor("flight", [1, 2], shape=[2, 2])), 400, "expected [rows] or [rows, 1]"),
    (body(tensor("flight", [1, 2], shape=[2, 10**18])), 400, "expected [rows] or [rows, 1]"),
    (body(tensor("flight", [1, 2], shape=[-2])), 400, "expected [rows]"),
    (body(tensor("flight", [1, 2], shape=[10**30])), 400, "found 2 values"),
    (body(tensor("flight", [1, 2], shape=[[2]])), 400, "body"),
    (body(tensor("flight", [[1], 2], shape=[2, 1])), 400, "expected a list of one value"),
    (body(distance=[[1.0], [2.0]]), 400, "row 0: found a list"),
    (body(distance=[{}, 1]), 400, "row 0: found an object"),
    (body(carrier=["AA", 1.5]), 400, "row 1: found 1.5"),
    (body(tensor("flight", [1, 2], "FP99")), 400, "'FP99'"),
    ({"inputs": [tensor("distance", []), tensor("carrier", [], "BYTES")]}, 400, "no rows"),
    (body(distance=[1] * 65, carrier=["A"] * 65), 413, "found 65 rows, expected at most 64"),
    (body(outputs=[{"name": "predictio"}]), 400, "did you mean 'prediction'?"),
    (
        body(outputs=[{"name": "prediction", "parameters": {"classification": 2}}]),
        400,
        "'classification' is not offered",
    ),
    (body(id="x" * 300), 400, "id: expected"),
    (body(id="a\nb"), 400, "id: expected"),
    (body(id=5), 400, "$.id"),
    (body(tensor("time_hour", ["yesterday", None], "BYTES")), 400, "ISO 8601"),
    (body(tensor("time_hour", [10**300, None], "INT64")), 400, "seconds since 1970"),
    (json.dumps(body()).replace("1.0", "NaN").encode(), 400, "malformed"),
    (json.dumps(body()).replace("1.0", "1e999").encode(), 400, "out of range"),
    (json.dumps(body()).replace("1.0", "9" * 5000).encode(), 400, "out of range"),
    (json.dumps(body()).replace("AA", "\\ud800").encode(), 400, "body"),
    (json.dumps(body()).replace("1.0", "[" * 5000 + "]" * 5000).encode(), 400, "too deeply"),
    (b'{"x":' + b"[" * 100_000, 400, "too deeply"),
    (json.dumps(body()).replace("1.0", "[" * 65 + "]" * 65).encode(), 400, "found a list"),
]


@pytest.mark.parametrize(("sent", "status", "text"), BAD, ids=range(len(BAD)))
def test_bad_input_is_told_what_is_wrong_with_it(
    app: Any, sent: Any, status: int, text: str
) -> None:
    told = app.post(INFER, sent)
    assert told.status == status, told.body
    assert text in told.body["error"]
    assert "/" not in told.body["error"]
    assert app.lines() == []


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        ({"rows": []}, "no rows"),
        ({"rows": [{}]}, "'distance' is missing"),
        ({"rows": [{"distance": 1}]}, "'carrier' is missing"),
        ({"rows": [{"distance": 1, "carrier": "A"}, {"distance": 1}]}, "rows[1]: 'carrier'"),
        ({"rows": [{"distance": 1, "carrier": "A", "carier": 1}]}, "did you mean 'carrier'?"),
        ({"rows": [{"distance": [1], "carrier": "A"}]}, "rows[0]"),
        ({"rows": {"distance": 1}}, "Expected `array`"),
    ],
)
def test_bad_rows_are_told_what_is_wrong_with_them(app: Any, sent: Any, text: str) -> None:
    told = app.post("/v1/predict", sent)
    assert told.status == 400
    assert text in told.body["error"]


def test_huge_numbers_count_as_null(app: Any) -> None:
    told = app.post(INFER, body(distance=[10**300, -(10**400)]))
    assert told.body["outputs"][0]["data"] == [1100.0, 2100.0]


def test_unknown_models_versions_and_paths_are_404(app: Any) -> None:
    assert "this server has 'flights'" in app.post("/v2/models/x/infer", body()).body["error"]
    assert app.post("/v2/models/flights/versions/2/infer", body()).status == 404
    assert app.post("/v2/models/flights/versions/01/infer", body()).status == 404
    assert app.post("/v2/models/flights/infer/", body()).status == 404
    assert app.post("/v2/models", body()).status == 405
    assert app.post("/v2/models/fl%69ghts/infer?x=y", body()).status == 200


def test_what_is_not_offered_is_refused_and_not_misread(app: Any) -> None:
    for header in (b"inference-header-content-length", b"content-encoding"):
        told = app.post(INFER, body(), {header: b"10"})
        assert (told.status, "not offered" in told.body["error"]) == (400, True)


def test_before_a_model_is_loaded_and_after_it_was_taken_away_it_is_503(app: Any) -> None:
    app.app.switch(None)
    assert app.post(INFER, body()).status == 503
    assert app.post("/v2/repository/index", b"").body[0]["state"] == "UNAVAILABLE"
    assert app.post("/v2/repository/index", {"ready": True}).body == []


def test_a_full_queue_is_503(app: Any) -> None:
    told = [app.send(INFER, body(distance=[1] * 32, carrier=["A"] * 32)) for _ in range(3)]
    app.turn()
    assert [one.status for one in told] == [200, 200, 503]


def test_labels_are_on_disk_when_they_are_accepted(app: Any) -> None:
    labels = [{"id": "a", "label": True}, {"id": "b.1", "label": 3}, {"id": "c", "label": "x"}]
    told = app.post("/v1/labels", {"labels": labels})
    assert (told.status, told.body) == (202, {"accepted": 3})
    assert app.lines("labels") == [
        {"at": 1_000_000, "labels": [["a", "true"], ["b.1", "3"], ["c", "x"]]}
    ]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"labels": [{"id": "a"}]}, 400),
        ({"labels": [{"id": "", "label": 1}]}, 400),
        ({"labels": [{"id": "a", "label": None}]}, 400),
        ({"labels": [{"id": "a", "label": "x" * 2000}]}, 400),
        ({"labels": [{"id": "a", "label": 1}] * 10_001}, 413),
        (b'{"labels":[{"id":"a","label":' + b"9" * 4299 + b"}]}", 400),
    ],
)
def test_bad_labels_are_refused_whole(app: Any, sent: Any, status: int) -> None:
    assert app.post("/v1/labels", sent).status == status
    assert app.lines("labels") == []


def test_a_full_spool_refuses_labels_but_not_predictions(tmp_path: Path, app: Any) -> None:
    small = type(app)(tmp_path / "small", max_bytes=400)
    told = [small.post(INFER, body()) for _ in range(5)]
    assert {one.status for one in told} == {200}
    labels = {"labels": [{"id": f"{i:0100d}", "label": 1} for i in range(5)]}
    refused = small.post("/v1/labels", labels)
    assert refused.status == 503
    assert small.metrics.unlogged.at("full").value == 2 * (5 - len(small.lines()))
    assert 1 <= len(small.lines()) < 5
    small.spool.close()


def test_two_thousand_mutated_bodies_are_never_a_failure_of_the_server(app: Any) -> None:
    rng = random.Random(7)
    seeds = [
        (INFER, json.dumps(body(tensor("time_hour", ["2013-01-01", None], "BYTES"))).encode()),
        ("/v1/predict", b'{"rows":[{"distance":1.5,"carrier":"AA","flight":"x"}],"id":"q"}'),
        ("/v1/labels", b'{"labels":[{"id":"a","label":true},{"id":"b","label":-1.5e3}]}'),
        ("/v2/repository/index", b'{"ready":true}'),
    ]
    scraps = [b"[", b"]", b"{", b"}", b'"', b",", b"null", b"1e400", b"-0", b"\\u0000", b"9" * 400]
    scraps += [b"\\ud83d", b"\xf0\x9f\x98\x80", b"\x00", b"\xff", b"true", b"[[[[", b"FP64", b"[]"]
    seen: dict[int, int] = {}
    for i in range(2000):
        path, seed = seeds[i % len(seeds)]
        told = app.post(path, mutated(bytearray(seed), rng, scraps))
        seen[told.status] = seen.get(told.status, 0) + 1
    assert set(seen) <= {200, 202, 400, 413}
    assert seen[200] > 20


def mutated(data: bytearray, rng: random.Random, scraps: list[bytes]) -> bytes:
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(data) + 1)
        choice = rng.randrange(4)
        if choice == 0:
            data[at:at] = rng.choice(scraps)
        elif choice == 1:
            del data[at : at + rng.randint(1, 8)]
        elif choice == 2:
            data[at : at + 1] = bytes([rng.randrange(256)])
        else:
            data[at : at + rng.randint(1, 6)] = rng.choice(scraps)
    return bytes(data)
