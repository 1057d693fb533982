"""Weights and products of the numeric core in 8-bit integers.

Dynamic: activations are scaled batch by batch. For networks of matrix products this needs no
calibration rows and was as fast as a static scale; convolutions would want the static one.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.quant_utils import add_pre_process_metadata

_QUANTIZED: Final = ("MatMul",)


def quantize(graph: onnx.ModelProto) -> onnx.ModelProto | str:
    """Make the core's matrix products int8; row steps and tail stay as they are.

    Returns:
        The new graph, or a sentence why there is none.
    """
    own = [node for node in graph.graph.node if node.name.startswith("core/")]
    if not any(node.op_type in _QUANTIZED for node in own):
        kinds = sorted({node.op_type for node in own})
        return f"nothing to quantize: the core has no matrix product, only {', '.join(kinds)}"
    others = [node.name for node in graph.graph.node if not node.name.startswith("core/")]
    marked = onnx.ModelProto()
    marked.CopyFrom(graph)
    # Says that shapes need no further pass, which the quantizer would otherwise warn about.
    add_pre_process_metadata(marked)
    with TemporaryDirectory(prefix="everloop-int8-") as folder:
        path = Path(folder) / "int8.onnx"
        quantize_dynamic(
            marked,
            path,
            op_types_to_quantize=list(_QUANTIZED),
            per_channel=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=others,
        )
        return onnx.load_model_from_string(path.read_bytes())
