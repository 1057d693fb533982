import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import polars as pl
import pytest
from onnx import GraphProto, ModelProto, SparseTensorProto, TensorProto, helper

from everloop.frameworks.onnx_runtime import MODEL, Scorer
from everloop.frameworks.scoring import score_frame
from everloop.rows.graph import input_tensors, make_model, output_tensors, wrap
from everloop.spec.errors import CorruptError, DataError
from everloop.spec.manifest import Calibration, Manifest
from everloop.spec.steps import ColumnSteps, FittedStep
from everloop.store.bundles import Bundle

COLUMNS = (
    ColumnSteps(name="x", kind="number", steps=(FittedStep(kind="impute", fill=(0.0,)),)),
    ColumnSteps(name="who", kind="category", steps=(FittedStep(kind="lookup", values=("a",)),)),
)


def bundle() -> Bundle:
    """probability = sigmoid(x + code)."""
    cast = helper.make_node("Cast", ["codes"], ["code"], to=TensorProto.FLOAT)
    total = helper.make_node("Add", ["numbers", "code"], ["sum"])
    flat = helper.make_node("Reshape", ["sum", "shape"], ["raw"])
    graph = helper.make_graph(
        [cast, total, flat],
        "sum",
        [
            helper.make_tensor_value_info("numbers", TensorProto.FLOAT, ["N", 1]),
            helper.make_tensor_value_info("codes", TensorProto.INT64, ["N", 1]),
        ],
        [helper.make_tensor_value_info("raw", TensorProto.FLOAT, ["N"])],
        [helper.make_tensor("shape", TensorProto.INT64, [1], [-1])],
    )
    model = wrap(make_model(graph), COLUMNS, "binary", Calibration())
    manifest = Manifest(
        name="m",
        task="binary",
        family="boosting",
        classes=("0", "1"),
        inputs=input_tensors(COLUMNS),
        outputs=output_tensors("binary", 2),
        columns=COLUMNS,
        project_digest="0",
        created_at="2020-01-01T00:00:00+00:00",
        versions={"onnxruntime": "9.9"},
    )
    return Bundle(digest="ab" * 32, manifest=manifest, files={MODEL: model.SerializeToString()})


def tensors(num_rows: int) -> dict[str, np.ndarray]:
    return {"x": np.zeros(num_rows, np.float32), "who": np.array(["a"] * num_rows, object)}


def test_a_scorer_answers_rows_and_no_rows() -> None:
    scorer = Scorer(bundle())
    np.testing.assert_allclose(scorer.run(tensors(2)), [1 / (1 + np.exp(-1))] * 2, rtol=1e-6)
    assert scorer.run(tensors(0)).shape == (0,)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("x", None, "column 'x': missing, expected FP32"),
        ("x", np.zeros(2), "found float64 of shape"),
        ("x", np.zeros((2, 1), np.float32), "expected FP32 of shape"),
        ("who", np.array(["a"], object), "column 'who'"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(name: str, value: object, message: str) -> None:
    given = {k: v for k, v in ({**tensors(2), name: value}).items() if v is not None}
    with pytest.raises(DataError, match=message):
        Scorer(bundle()).run(given)  # type: ignore[arg-type]


def external(value: str = "weights.bin") -> TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], data_location="EXTERNAL")
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", value
    return tensor


def inner_graph(tensor: TensorProto) -> GraphProto:
    return helper.make_graph([], "inner", [], [], [tensor])


def changed(change: Callable[[ModelProto], object]) -> Bundle:
    sound = bundle()
    model = onnx.load_model_from_string(sound.files[MODEL])
    change(model)
    return replace(sound, files={MODEL: model.SerializeToString()})


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.graph.initializer.append(external()),
        lambda m: m.graph.initializer.append(external("/etc/passwd")),
        lambda m: m.graph.node[0].attribute.append(helper.make_attribute("t", external())),
        lambda m: m.graph.node[0].attribute.append(helper.make_attribute("t", [external()])),
        lambda m: m.graph.node[0].attribute.append(
            helper.make_attribute("g", inner_graph(external()))
        ),
        lambda m: m.graph.sparse_initializer.append(SparseTensorProto(values=external())),
        lambda m: m.functions.add().node.append(
            helper.make_node("Constant", [], ["c"], value=external())
        ),
        lambda m: m.training_info.add().initialization.initializer.append(external()),
    ],
)
def test_a_graph_that_names_another_file_is_refused_wherever_it_does(
    change: Callable[[ModelProto], object],
) -> None:
    with pytest.raises(CorruptError, match="refused, since it keeps weights in another file"):
        Scorer(changed(change))


def test_a_graph_that_needs_operators_of_another_library_is_refused() -> None:
    opset = helper.make_opsetid("com.example", 1)
    with pytest.raises(CorruptError, match=r"operators of the library 'com\.example'"):
        Scorer(changed(lambda m: m.opset_import.append(opset)))


def test_a_graph_in_the_runtimes_own_format_is_not_loaded() -> None:
    data = b"\x20\x00\x00\x00ORTM" + bytes(64)
    with pytest.raises(CorruptError, match="cannot run"):
        Scorer(replace(bundle(), files={MODEL: data}))


def test_a_word_that_only_looks_like_a_file_is_no_reason_to_refuse() -> None:
    Scorer(changed(lambda m: setattr(m, "doc_string", "location")))


@pytest.mark.parametrize("cut", range(1, 400, 7))
def test_a_graph_that_is_cut_short_is_told(cut: int) -> None:
    sound = changed(lambda m: setattr(m, "doc_string", "location"))
    data = sound.files[MODEL][:-cut]
    with pytest.raises(CorruptError, match="cannot run"):
        Scorer(replace(sound, files={MODEL: data}))


def test_a_graph_that_cannot_be_run_is_told_with_both_versions() -> None:
    broken = Bundle(digest="cd" * 32, manifest=bundle().manifest, files={MODEL: b"no graph"})
    with pytest.raises(CorruptError, match=r"cdcdcdcdcdcd: .*made with ONNX Runtime 9\.9"):
        Scorer(broken)
    with pytest.raises(CorruptError, match=r"it has no model\.onnx"):
        Scorer(Bundle(digest="cd" * 32, manifest=bundle().manifest, files={}))


def test_a_frame_is_scored_batch_by_batch() -> None:
    frame = pl.DataFrame({"who": ["a", "b", None, "a"], "x": [0.0, 1.0, None, -1.0], "z": 1})
    whole = score_frame(bundle(), frame)
    np.testing.assert_allclose(whole, 1 / (1 + np.exp([-1, -1, 0, 0])), rtol=1e-6)
    np.testing.assert_array_equal(score_frame(bundle(), frame, batch_rows=3), whole)
    assert score_frame(bundle(), frame.head(0)).shape == (0,)


def test_a_replica_loads_neither_polars_nor_torch_nor_onnx() -> None:
    heavy = {"polars", "torch", "onnx", "lightgbm", "deltalake", "pyarrow"}
    code = (
        "import sys, everloop.frameworks.onnx_runtime, everloop.rows.replica\n"
        f"found = {heavy} & set(sys.modules)\nassert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
