"""The Open Inference Protocol v2 over JSON: requests in, answers out.

Errors of every layer below (bad JSON, wrong types, deep nesting, huge numbers) come out as one
kind, `Refused` with 400. Nothing is decided by Content-Type.
"""

from typing import Any

import msgspec

from everloop.serve.http.messages import Refused
from everloop.serve.inputs import InputForm, Rows, Value, nearest
from everloop.spec.manifest import Manifest

MAX_ID = 256
_MAX_RANK = 2


class TensorIn(msgspec.Struct, gc=False):
    """One input tensor; `data` is flat or nested, row-major."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any]


class OutputAsked(msgspec.Struct, gc=False):
    """One output that the client asks for."""

    name: str
    parameters: dict[str, msgspec.Raw] = {}


class InferRequest(msgspec.Struct, gc=False):
    """The body of an inference request; keys that are not known are ignored, as the field does."""

    inputs: list[TensorIn]
    id: str | None = None
    outputs: list[OutputAsked] | None = None


class IndexRequest(msgspec.Struct):
    """The body of a repository index request."""

    ready: bool = False


_INFER = msgspec.json.Decoder(InferRequest)
_INDEX = msgspec.json.Decoder(IndexRequest)
_encode = msgspec.json.Encoder().encode


def decode(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:  # noqa: ANN401 - generic
    """Decode a body; the one place where JSON from outside becomes values.

    Raises:
        Refused: With 400.
    """
    try:
        return decoder.decode(body)
    except RecursionError:
        # The chain is cut: a traceback a thousand frames deep helps nobody.
        raise Refused(400, "the JSON is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, OverflowError) as error:
        raise Refused(400, f"the body is not what is expected: {error}") from error


def check_id(text: str | None) -> str | None:
    """Return the id if it may be logged and echoed.

    Raises:
        Refused: With 400, if it is too long or holds control characters.
    """
    if not text:
        return None
    if len(text) > MAX_ID or not text.isprintable():
        raise Refused(400, f"id: expected at most {MAX_ID} printable characters")
    return text


def read_infer(body: bytes, form: InputForm, manifest: Manifest) -> tuple[str | None, Rows]:
    """Read an inference request.

    Returns:
        The id, if one was given, and the rows.

    Raises:
        Refused: With 400 or 413.
    """
    request: InferRequest = decode(_INFER, body)
    if request.outputs:
        _check_outputs(request.outputs, manifest)
    if not request.inputs:
        raise Refused(400, "inputs: found none, expected one for each column of the model")
    num_rows = len(request.inputs[0].data)
    shape, expected = [num_rows], form.datatypes
    given: dict[str, list[Value]] = {}
    for tensor in request.inputs:
        name, data = tensor.name, tensor.data
        # The usual tensor passes three comparisons; all others are looked at closely.
        if tensor.shape != shape or len(data) != num_rows or tensor.datatype != expected.get(name):
            data = _look_closely(tensor, form, num_rows)
        if name in given:
            raise Refused(400, f"input {name!r} is given twice")
        given[name] = data
    return check_id(request.id), form.rows(given, num_rows)


def _look_closely(tensor: TensorIn, form: InputForm, num_rows: int) -> list[Value]:
    form.check_known(tensor.name)
    form.check_datatype(tensor.name, tensor.datatype)
    data = _flat(tensor)
    if len(data) != num_rows:
        raise Refused(400, f"input {tensor.name!r}: found {len(data)} rows, others have {num_rows}")
    return data


def _flat(tensor: TensorIn) -> list[Value]:
    shape, data = tensor.shape, tensor.data
    if not 1 <= len(shape) <= _MAX_RANK or min(shape) < 0 or shape[1:] not in ([], [1]):
        raise Refused(
            400, f"input {tensor.name!r}: found shape {shape[:8]}, expected [rows] or [rows, 1]"
        )
    if len(data) != shape[0]:
        raise Refused(
            400, f"input {tensor.name!r}: found {len(data)} values, expected {shape[0]} by shape"
        )
    if len(shape) == _MAX_RANK and data and type(data[0]) is list:
        data = [_only(tensor.name, i, inner) for i, inner in enumerate(data)]
    return data


def _only(name: str, row: int, inner: object) -> Value:
    if not isinstance(inner, list) or len(inner) != 1:
        raise Refused(400, f"input {name!r}, row {row}: expected a list of one value, by shape")
    value: Value = inner[0]
    return value


def _check_outputs(asked: list[OutputAsked], manifest: Manifest) -> None:
    names = [tensor.name for tensor in manifest.outputs]
    for output in asked:
        if output.name not in names:
            raise Refused(400, f"unknown output {output.name!r}{nearest(output.name, names)}")
        if "classification" in output.parameters:
            raise Refused(400, "outputs: the parameter 'classification' is not offered here")


class AnswerHead:
    """The constant parts of one version's answers; only the id and the numbers change."""

    def __init__(self, manifest: Manifest, version: int) -> None:
        output = manifest.outputs[0]
        name, text = _encode(manifest.name), _encode(str(version))
        self._start = b'{"model_name":%s,"model_version":%s,"id":' % (name, text)
        self._output = b',"outputs":[{"name":%s,"datatype":%s,"shape":[' % (
            _encode(output.name),
            _encode(output.datatype),
        )
        self._width = b"".join(b",%d" % size for size in output.shape[1:])

    def infer(self, request_id: str, predictions: list[Any]) -> bytes:
        """Encode an answer to an inference request."""
        return b'%s%s%s%d%s],"data":%s}]}' % (
            self._start,
            _encode(request_id),
            self._output,
            len(predictions),
            self._width,
            _encode(_ravel(predictions) if self._width else predictions),
        )


def _ravel(rows: list[list[float]]) -> list[float]:
    return [value for row in rows for value in row]


def metadata(manifest: Manifest, version: int) -> bytes:
    """Encode what the model takes and gives."""
    tensors = {
        "inputs": [t.model_dump() for t in manifest.inputs],
        "outputs": [t.model_dump() for t in manifest.outputs],
    }
    head = {"name": manifest.name, "versions": [str(version)], "platform": "onnxruntime_onnx"}
    return _encode(head | tensors)


def read_index(body: bytes) -> bool:
    """Read a repository index request; returns whether only ready models are asked for.

    Raises:
        Refused: With 400.
    """
    if not body.strip():
        return False
    request: IndexRequest = decode(_INDEX, body)
    return request.ready
