"""Rows as dictionaries: the plain form of a prediction request, and labels that come later."""

from typing import Any

import msgspec

from everloop.serve.http.messages import Refused
from everloop.serve.inputs import InputForm, Rows, Value, as_text
from everloop.serve.v2 import MAX_ID, check_id, decode
from everloop.spec.manifest import Manifest

MAX_LABELS = 10_000
_MAX_LABEL = 1024


class PredictRequest(msgspec.Struct, gc=False):
    """The body of ``POST /v1/predict``."""

    rows: list[dict[str, float | int | str | bool | None]]
    id: str | None = None


class Label(msgspec.Struct, gc=False):
    """What turned out to be true of one prediction."""

    id: str
    label: float | int | str | bool


class LabelsRequest(msgspec.Struct, gc=False):
    """The body of ``POST /v1/labels``."""

    labels: list[Label]


_PREDICT = msgspec.json.Decoder(PredictRequest)
_LABELS = msgspec.json.Decoder(LabelsRequest)
_encode = msgspec.json.Encoder().encode


def read_predict(body: bytes, form: InputForm) -> tuple[str | None, Rows]:
    """Read rows; each must name every column of the model.

    Returns:
        The id, if one was given, and the rows.

    Raises:
        Refused: With 400 or 413.
    """
    request: PredictRequest = decode(_PREDICT, body)
    rows = request.rows
    names = set().union(*rows[:1])
    for name in names:
        form.check_known(name)
    given: dict[str, list[Value]] = {name: [] for name in names}
    for i, row in enumerate(rows):
        if row.keys() != names:
            raise _unlike(form, i, row, names)
        for name, value in row.items():
            given[name].append(value)
    return check_id(request.id), form.rows(given, len(rows))


def _unlike(form: InputForm, i: int, row: dict[str, Any], names: set[str]) -> Refused:
    for name in row:
        form.check_known(name)
    odd = min(names ^ row.keys())
    missing = i if odd in names else 0
    return Refused(400, f"rows[{missing}]: {odd!r} is missing; send null where it is not known")


def predict_answer(
    manifest: Manifest, version: int, request_id: str, predictions: list[Any]
) -> bytes:
    """Encode the answer to ``POST /v1/predict``."""
    head: dict[str, Any] = {"id": request_id, "model_version": str(version)}
    if manifest.task == "multiclass":
        head["classes"] = manifest.classes
    return _encode(head | {"predictions": predictions})


def read_labels(body: bytes) -> list[tuple[str, str]]:
    """Read labels as pairs of prediction id and text.

    Raises:
        Refused: With 400 or 413.
    """
    request: LabelsRequest = decode(_LABELS, body)
    if len(request.labels) > MAX_LABELS:
        raise Refused(413, f"found {len(request.labels)} labels, expected at most {MAX_LABELS}")
    return [_pair(i, label) for i, label in enumerate(request.labels)]


def _pair(i: int, label: Label) -> tuple[str, str]:
    # A row of a longer request has its number after the id, hence the room.
    if not label.id or len(label.id) > MAX_ID + 16 or not label.id.isprintable():
        raise Refused(400, f"labels[{i}].id: expected 1 to {MAX_ID + 16} printable characters")
    try:
        text = as_text(label.label)
    except ValueError as error:  # a whole number of thousands of digits
        raise Refused(400, f"labels[{i}].label: the number is too long") from error
    if len(text) > _MAX_LABEL:
        raise Refused(400, f"labels[{i}].label: expected at most {_MAX_LABEL} characters")
    return label.id, text
