"""A network's weights as an ONNX graph, written by hand: milliseconds, where an exporter takes 7 s.

Letters of shapes: N rows, F numbers, C codes, D width of an embedding, W width, K outputs.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from everloop.frameworks.trees import core_model
from everloop.rows.nodes import Nodes

Weights = Mapping[str, npt.NDArray[np.float32]]


def code_offsets(code_sizes: Sequence[int]) -> npt.NDArray[np.int64]:
    """Say where each category's rows start in the one table of all embeddings, shape (C,).

    >>> code_offsets([3, 5, 2]).tolist()
    [0, 3, 8]
    """
    return np.array([0, *accumulate(code_sizes)][: len(code_sizes)], np.int64)


def network_core(
    weights: Weights, *, num_numbers: int, code_sizes: Sequence[int], num_blocks: int
) -> onnx.ModelProto:
    """Write a network as a core.

    Args:
        weights: ``embedding.weight`` (sum of code_sizes, D); ``first``, ``blocks.<i>.inner``,
            ``blocks.<i>.outer`` and ``last``, each with ``.weight`` (out, in) and ``.bias`` (out,).
        num_numbers: F.
        code_sizes: Shape (C,).
        num_blocks: Residual blocks.
    """
    nodes = Nodes("network")
    x = nodes.add(
        "Relu", [_linear(nodes, weights, "first", _input(nodes, weights, num_numbers, code_sizes))]
    )
    for i in range(num_blocks):
        inner = nodes.add("Relu", [_linear(nodes, weights, f"blocks.{i}.inner", x)])
        x = nodes.add("Add", [x, _linear(nodes, weights, f"blocks.{i}.outer", inner)])
    num_targets = len(weights["last.bias"])
    if num_targets == 1:
        last = _linear(nodes, weights, "last", x)
        nodes.add("Reshape", [last, nodes.constant(np.array([-1]))], output="raw")
    else:
        _linear(nodes, weights, "last", x, output="raw")
    return core_model(
        nodes, num_numbers=num_numbers, num_codes=len(code_sizes), num_targets=num_targets
    )


def _input(nodes: Nodes, weights: Weights, num_numbers: int, code_sizes: Sequence[int]) -> str:
    if not code_sizes:
        return "numbers"
    table = weights["embedding.weight"]
    places = nodes.add("Add", ["codes", nodes.constant(code_offsets(code_sizes))])
    found = nodes.add("Gather", [nodes.constant(table, name="embedding"), places])
    flat = np.array([-1, len(code_sizes) * table.shape[1]])
    embedded = nodes.add("Reshape", [found, nodes.constant(flat)])
    return nodes.add("Concat", ["numbers", embedded], axis=1) if num_numbers else embedded


def _linear(nodes: Nodes, weights: Weights, name: str, x: str, *, output: str | None = None) -> str:
    # MatMul and Add, and not Gemm: ONNX Runtime fuses the two, and its quantizer knows MatMul.
    weight = nodes.constant(
        np.ascontiguousarray(weights[f"{name}.weight"].T), name=f"{name}.weight"
    )
    product = nodes.add("MatMul", [x, weight])
    bias: npt.NDArray[Any] = weights[f"{name}.bias"]
    return nodes.add("Add", [product, nodes.constant(bias, name=f"{name}.bias")], output=output)
