"""A growing list of ONNX nodes with names of their own."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper


class Nodes:
    """Nodes and initializers of a graph in the making, named ``<prefix>/<operator><number>``."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def add(
        self,
        operator: str,
        inputs: Sequence[str],
        *,
        output: str | None = None,
        domain: str = "",
        **attributes: Any,  # noqa: ANN401 - whatever the operator takes
    ) -> str:
        """Add a node with one output and return that output's name."""
        name = f"{self.prefix}/{operator}{len(self.nodes)}"
        result = output or f"{name}:0"
        node = helper.make_node(operator, inputs, [result], name=name, domain=domain, **attributes)
        self.nodes.append(node)
        return result

    def constant(self, value: npt.NDArray[Any], *, name: str | None = None) -> str:
        """Add an initializer and return its name."""
        name = f"{self.prefix}/{name or f'constant{len(self.initializers)}'}"
        self.initializers.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def rename(self, old: str, new: str) -> None:
        """Give an output another name, in the nodes there are so far."""
        for node in self.nodes:
            node.input[:] = [new if name == old else name for name in node.input]
            node.output[:] = [new if name == old else name for name in node.output]
