"""A look at an ONNX file's bytes before anything loads it.

A graph may name other files to read its weights from, and operators of libraries to load. A bundle
holds all of its weights, and everloop's graphs use standard operators alone; whatever asks for more
was not made by everloop. Only lengths and tags are read here: no package is needed, and no number.
"""

from collections.abc import Iterator, Mapping
from typing import Final

DOMAINS: Final = frozenset({b"", b"ai.onnx", b"ai.onnx.ml", b"com.microsoft"})
"""Operators that ONNX Runtime brings itself; int8 variants use the last one's."""

_VARINT, _BYTES = 0, 2
_WIDTHS: Final = {1: 8, 5: 4}  # of the wire types whose length is fixed
_OPSET, _GRAPH, _FUNCTION, _DOMAIN = 8, 7, 25, 1
_LOCATION = b"location"

# Message to the fields of it that hold messages, and which; the numbers are those of onnx.proto.
_PARTS: Final[Mapping[str, Mapping[int, str]]] = {
    "model": {_GRAPH: "graph", _FUNCTION: "function", 20: "training"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor", 10: "tensor", 6: "graph", 11: "graph", 22: "sparse", 23: "sparse",
    },
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}  # fmt: skip
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_MAX_DEPTH, _MAX_BITS = 64, 70


def check_graph(model: bytes) -> None:
    """Refuse a graph that asks for more than its own bytes.

    Raises:
        ValueError: If it reads other files, needs operators of other libraries, or is no graph.
    """
    data = memoryview(model)
    for number, value in _fields(data):
        if number == _OPSET and isinstance(value, memoryview):
            _check_domain(value)
    # A file is named by an entry of this key; most graphs need no second look.
    if _LOCATION in model and _has_external(data, "model", 0):
        raise ValueError("refused, since it keeps weights in another file")


def _check_domain(opset: memoryview) -> None:
    domain = b"".join(
        bytes(v) for n, v in _fields(opset) if n == _DOMAIN and isinstance(v, memoryview)
    )
    if domain not in DOMAINS:
        named = domain[:64].decode(errors="replace")
        raise ValueError(f"refused, since it needs operators of the library {named!r}")


def _has_external(message: memoryview, kind: str, depth: int) -> bool:
    if depth > _MAX_DEPTH:
        raise ValueError("refused, since it is nested too deeply")
    parts = _PARTS[kind]
    for number, value in _fields(message):
        if kind == "tensor" and number in {_EXTERNAL_DATA, _DATA_LOCATION} and value != 0:
            return True
        inner = parts.get(number)
        if inner and isinstance(value, memoryview) and _has_external(value, inner, depth + 1):
            return True
    return False


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield each field's number, and its content where it is an integer or bytes."""
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        length = _WIDTHS.get(wire, 0)
        if wire == _BYTES:
            length, at = _varint(message, at)
        elif not length:
            raise ValueError(f"no ONNX file: found wire type {wire}")
        if at + length > end:
            raise ValueError("no ONNX file: cut short")
        yield number, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < _MAX_BITS:
        if at == len(message):
            raise ValueError("no ONNX file: cut short")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the bit that says another byte follows
            return value, at
        shift += 7
    raise ValueError("no ONNX file: found a number of more than 64 bits")
