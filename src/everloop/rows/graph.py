"""Row steps as ONNX nodes around a model's numeric core.

Nodes, tensors and initializers are named ``rows/...``, ``core/...`` and ``tail/...``, so that a
quantizer can be kept to the core and a recalibration to the tail. Letters of shapes: N rows,
F numbers, C codes, K classes, G columns of a group.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from everloop.rows.calendar_graph import calendar_nodes
from everloop.rows.columns import OUTPUTS, code_columns, graph_steps, number_groups
from everloop.rows.nodes import Nodes
from everloop.spec.manifest import Calibration, Datatype, Task, Tensor
from everloop.spec.steps import ColumnSteps, FittedStep

OPSET: Final = 20
ML_OPSET: Final = 5
IR_VERSION: Final = 10

_DATATYPES: Final[dict[str, tuple[Datatype, int]]] = {
    "number": ("FP32", TensorProto.FLOAT),
    "category": ("BYTES", TensorProto.STRING),
    "time": ("INT64", TensorProto.INT64),
}


def wrap(
    core: onnx.ModelProto, columns: Sequence[ColumnSteps], task: Task, calibration: Calibration
) -> onnx.ModelProto:
    """Put the row steps before a core and calibration and link behind it.

    Args:
        core: Takes ``numbers`` float32 (N, F) and ``codes`` int64 (N, C), those that exist; gives
            ``raw`` float32 (N,) or (N, K).
        columns: Each becomes an input of shape (N,).
        task: Decides the output: ``probability``, ``probabilities`` or ``prediction``.
        calibration: Two initializers of the tail.
    """
    nodes = Nodes("rows")
    _number_nodes(nodes, columns)
    _code_nodes(nodes, columns)
    _core_nodes(nodes, core)
    _tail_nodes(nodes, task, calibration)
    inputs = [helper.make_tensor_value_info(c.name, _DATATYPES[c.kind][1], ["N"]) for c in columns]
    shape = ["N", None] if task == "multiclass" else ["N"]
    output = helper.make_tensor_value_info(OUTPUTS[task], TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes.nodes, "everloop", inputs, [output], nodes.initializers)
    return make_model(graph)


def make_model(graph: onnx.GraphProto) -> onnx.ModelProto:
    """Make a model of the operator versions that everloop writes."""
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
    return helper.make_model(
        graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="everloop"
    )


def input_tensors(columns: Sequence[ColumnSteps]) -> tuple[Tensor, ...]:
    """Describe the graph's inputs for the manifest."""
    return tuple(Tensor(name=c.name, datatype=_DATATYPES[c.kind][0], shape=(-1,)) for c in columns)


def output_tensors(task: Task, num_classes: int) -> tuple[Tensor, ...]:
    """Describe the graph's output for the manifest."""
    shape = (-1, num_classes) if task == "multiclass" else (-1,)
    return (Tensor(name=OUTPUTS[task], datatype="FP32", shape=shape),)


def set_calibration(model: onnx.ModelProto, calibration: Calibration) -> onnx.ModelProto:
    """Return a copy whose tail has another slope and bias; everything else stays as it is.

    Raises:
        ValueError: If the model has no such tail.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    wanted = {"tail/slope": calibration.slope, "tail/bias": calibration.bias}
    for initializer in changed.graph.initializer:
        if initializer.name in wanted:
            value = np.array(wanted.pop(initializer.name), np.float32)
            initializer.CopyFrom(numpy_helper.from_array(value, initializer.name))
    if wanted:
        raise ValueError(
            f"the graph has no initializer {', '.join(wanted)}: everloop did not wrap it"
        )
    return changed


def _number_nodes(nodes: Nodes, columns: Sequence[ColumnSteps]) -> None:
    parts = []
    for group in number_groups(columns):
        steps = graph_steps(group[0])
        if group[0].kind == "time":
            matrix = calendar_nodes(nodes, group[0].name, steps[0].parts)
            steps = steps[1:]
        else:
            matrix = _columns_nodes(nodes, [column.name for column in group])
        for i, step in enumerate(steps, start=len(graph_steps(group[0])) - len(steps)):
            fitted = [graph_steps(column)[i] for column in group]
            matrix = _step_nodes(nodes, step.kind, fitted, matrix)
        parts.append(matrix)
    _joined(nodes, parts, "rows/numbers")


def _code_nodes(nodes: Nodes, columns: Sequence[ColumnSteps]) -> None:
    codes = [_lookup_node(nodes, column) for column in code_columns(columns)]
    if codes:
        _joined(nodes, [_columns_nodes(nodes, codes)], "rows/codes")


def _joined(nodes: Nodes, parts: Sequence[str], name: str) -> None:
    if len(parts) == 1:
        nodes.rename(parts[0], name)
    elif parts:
        nodes.add("Concat", parts, output=name, axis=1)


def _columns_nodes(nodes: Nodes, names: Sequence[str]) -> str:
    # G vectors of shape (N,) laid end to end are a (G, N) matrix: three nodes for any number of
    # columns, where one node a column to add an axis costs a microsecond each.
    if len(names) == 1:
        return nodes.add("Reshape", [names[0], nodes.constant(np.array([-1, 1]))])
    flat = nodes.add("Concat", names, axis=0)
    matrix = nodes.add("Reshape", [flat, nodes.constant(np.array([len(names), -1]))])
    return nodes.add("Transpose", [matrix], perm=[1, 0])


def _lookup_node(nodes: Nodes, column: ColumnSteps) -> str:
    known = column.steps[-1].values
    # The empty key stands for null; it also keeps the table from being empty, which ONNX forbids.
    return nodes.add(
        "LabelEncoder",
        [column.name],
        domain="ai.onnx.ml",
        keys_strings=["", *known],
        values_int64s=list(range(len(known) + 1)),
        default_int64=0,
    )


def _step_nodes(nodes: Nodes, kind: str, steps: Sequence[FittedStep], x: str) -> str:
    if kind == "impute":
        fill = nodes.constant(_row(steps, "fill"))
        return nodes.add("Where", [nodes.add("IsNaN", [x]), fill, x])
    if kind == "clip":
        raised = nodes.add("Max", [x, nodes.constant(_row(steps, "low"))])
        return nodes.add("Min", [raised, nodes.constant(_row(steps, "high"))])
    if kind == "scale":
        centred = nodes.add("Sub", [x, nodes.constant(_row(steps, "mean"))])
        return nodes.add("Div", [centred, nodes.constant(_row(steps, "deviation"))])
    return _log_nodes(nodes, x) if kind == "log" else _clock_nodes(nodes, x)


def _row(steps: Sequence[FittedStep], name: str) -> npt.NDArray[np.float32]:
    values: list[Any] = [value for step in steps for value in getattr(step, name)]
    return np.array([values], np.float32)


def _log_nodes(nodes: Nodes, x: str) -> str:
    wide = nodes.add("Cast", [x], to=TensorProto.DOUBLE)
    bounded = nodes.add("Max", [wide, nodes.constant(np.array(0.0))])
    shifted = nodes.add("Add", [bounded, nodes.constant(np.array(1.0))])
    return nodes.add("Cast", [nodes.add("Log", [shifted])], to=TensorProto.FLOAT)


def _clock_nodes(nodes: Nodes, x: str) -> str:
    hundred = nodes.constant(np.array(100, np.float32))
    hours = nodes.add("Floor", [nodes.add("Div", [x, hundred])])
    minutes = nodes.add("Sub", [x, nodes.add("Mul", [hours, hundred])])
    sixty = nodes.constant(np.array(60, np.float32))
    return nodes.add("Add", [nodes.add("Mul", [hours, sixty]), minutes])


def _core_nodes(nodes: Nodes, core: onnx.ModelProto) -> None:
    place = {"numbers": "rows/numbers", "codes": "rows/codes"}

    def named(name: str) -> str:
        return place.get(name, f"core/{name}") if name else name

    for i, node in enumerate(core.graph.node):
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.name = f"core/{node.name or node.op_type + str(i)}"
        copy.input[:] = [named(name) for name in node.input]
        copy.output[:] = [named(name) for name in node.output]
        nodes.nodes.append(copy)
    for initializer in core.graph.initializer:
        tensor = onnx.TensorProto()
        tensor.CopyFrom(initializer)
        tensor.name = named(initializer.name)
        nodes.initializers.append(tensor)


def _tail_nodes(nodes: Nodes, task: Task, calibration: Calibration) -> None:
    nodes.prefix = "tail"
    slope = nodes.constant(np.array(calibration.slope, np.float32), name="slope")
    bias = nodes.constant(np.array(calibration.bias, np.float32), name="bias")
    scaled = nodes.add("Mul", ["core/raw", slope])
    if task == "regression":
        nodes.add("Add", [scaled, bias], output=OUTPUTS[task])
        return
    shifted = nodes.add("Add", [scaled, bias])
    if task == "binary":
        nodes.add("Sigmoid", [shifted], output=OUTPUTS[task])
    else:
        nodes.add("Softmax", [shifted], output=OUTPUTS[task], axis=-1)
