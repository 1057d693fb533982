"""Runs a bundle's graph with ONNX Runtime; needs numpy and onnxruntime alone."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime

from everloop.frameworks.untrusted import check_graph
from everloop.spec.errors import CorruptError, DataError
from everloop.spec.manifest import Manifest
from everloop.store.bundles import Bundle

MODEL: Final = "model.onnx"
_ERRORS_ONLY = 3
_TYPES: Final = {"FP32": np.float32, "INT64": np.int64, "BYTES": np.object_}


def open_session(model: bytes, *, threads: int = 1) -> onnxruntime.InferenceSession:
    """Open a graph on the CPU with so many threads, and not one for each core of the machine.

    Raises:
        onnxruntime's own errors, if it is no graph that this version can run.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _ERRORS_ONLY
    # A waiting thread that spins takes the core from the server's own threads.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.load_model_format", "ONNX")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class Scorer:
    """A bundle, ready to score rows; safe to call from several threads."""

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        """Load the graph.

        Raises:
            CorruptError: If the bundle has no graph, or one that cannot be run or must not be: that
                reads other files, or needs operators of other libraries.
        """
        self._manifest = bundle.manifest
        self._output = bundle.manifest.outputs[0]
        self._names = tuple(tensor.name for tensor in bundle.manifest.inputs)
        if MODEL not in bundle.files:
            raise CorruptError(f"bundle {bundle.digest[:12]}: it has no {MODEL}; train again")
        try:
            check_graph(bundle.files[MODEL])
            self._session = open_session(bundle.files[MODEL], threads=threads)
        except Exception as error:
            raise CorruptError(
                f"bundle {bundle.digest[:12]}: ONNX Runtime {onnxruntime.__version__} cannot run "
                f"{MODEL}: {error}; it was made with {_made_with(bundle.manifest)}"
            ) from error

    def run(self, tensors: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        """Score rows.

        Args:
            tensors: Input name to its tensor, each of shape (N,), of the manifest's datatypes: as
                `rows.replica.parse_inputs` and `rows.vectorised.tensors` give them.

        Returns:
            ``probability`` or ``prediction``, shape (N,), or ``probabilities``, shape (N, K).

        Raises:
            DataError: If a tensor is missing, or of another type or shape.
        """
        num_rows = len(tensors.get(self._names[0], ()))
        try:
            # A lone row would be stretched to the length of the others without a word.
            if num_rows and all(len(tensors[name]) == num_rows for name in self._names):
                return np.asarray(self._session.run([self._output.name], tensors)[0])
        except Exception as error:
            raise DataError(self._mistake(tensors, num_rows) or f"model: {error}") from error
        if mistake := self._mistake(tensors, num_rows):
            raise DataError(mistake)
        return np.empty((0, *self._output.shape[1:]), np.float32)

    def _mistake(self, tensors: Mapping[str, npt.NDArray[Any]], num_rows: int) -> str | None:
        for tensor in self._manifest.inputs:
            if tensor.name not in tensors:
                return f"column {tensor.name!r}: missing, expected {tensor.datatype}"
            found = tensors[tensor.name]
            if found.dtype != _TYPES[tensor.datatype] or found.shape != (num_rows,):
                return (
                    f"column {tensor.name!r}: found {found.dtype} of shape {found.shape}, "
                    f"expected {tensor.datatype} of shape ({num_rows},)"
                )
        return None


def _made_with(manifest: Manifest) -> str:
    made = manifest.versions.get("onnxruntime")
    return f"ONNX Runtime {made}" if made else "an unknown version"
