from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest
from onnx import TensorProto, helper, numpy_helper

from everloop.gate import Evidence, measure_gate, objections
from everloop.measure.metrics import metric
from everloop.rows.graph import wrap
from everloop.spec.manifest import Calibration, Manifest, Task, Tensor
from everloop.spec.project import GateSpec, Project
from everloop.spec.steps import ColumnSteps
from everloop.store.bundles import Bundle

OUTPUT = {"binary": "probability", "multiclass": "probabilities", "regression": "prediction"}


def linear(weights: Sequence[Sequence[float]], *, is_flat: bool) -> onnx.ModelProto:
    """A core that multiplies the numbers (N, 2) by weights (2, K)."""
    matrix = numpy_helper.from_array(np.array(weights, np.float32), "weights")
    nodes = [helper.make_node("MatMul", ["numbers", "weights"], ["product"])]
    constants = [matrix]
    if is_flat:
        constants.append(numpy_helper.from_array(np.array([-1], np.int64), "shape"))
        nodes.append(helper.make_node("Reshape", ["product", "shape"], ["raw"]))
    else:
        nodes.append(helper.make_node("Identity", ["product"], ["raw"]))
    shape: list[str | int | None] = ["rows"] if is_flat else ["rows", len(weights[0])]
    graph = helper.make_graph(
        nodes,
        "core",
        [helper.make_tensor_value_info("numbers", TensorProto.FLOAT, ["rows", 2])],
        [helper.make_tensor_value_info("raw", TensorProto.FLOAT, shape)],
        constants,
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8)


def bundle(
    weights: Sequence[Sequence[float]],
    task: Task = "binary",
    classes: tuple[str, ...] = ("0", "1"),
    names: tuple[str, str] = ("x", "y"),
) -> Bundle:
    columns = tuple(ColumnSteps(name=name, kind="number") for name in names)
    core = linear(weights, is_flat=task != "multiclass")
    model = wrap(core, columns, task, Calibration()).SerializeToString()
    manifest = Manifest(
        name="m",
        task=task,
        family="boosting",
        classes=() if task == "regression" else classes,
        inputs=tuple(Tensor(name=n, datatype="FP32", shape=(-1,)) for n in names),
        outputs=(
            Tensor(
                name=OUTPUT[task],
                datatype="FP32",
                shape=(-1, len(classes)) if task == "multiclass" else (-1,),
            ),
        ),
        columns=columns,
        project_digest="p",
        created_at="2013-01-01T00:00:00Z",
        versions={"onnx": onnx.__version__},
    )
    digest = (str(abs(hash(str(weights)))) * 64)[:64]
    return Bundle(digest=digest, manifest=manifest, files={"model.onnx": model})


def project(**gate: Any) -> Project:
    source = {"path": "x.parquet", "label": "late", "time": "at"}
    return Project.model_validate(
        {"project": {"name": "m"}, "sources": (source,), "gate": GateSpec(**gate)}
    )


def rows(num_rows: int = 2000, *, num_days: int = 20, seed: int = 0) -> pl.DataFrame:
    """Rows whose label follows x; y is noise."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, num_rows))
    late = rng.uniform(size=num_rows) < 1 / (1 + np.exp(-2 * x))
    step = timedelta(days=num_days) / num_rows
    times = [datetime(2013, 3, 1, tzinfo=UTC) + i * step for i in range(num_rows)]
    return pl.DataFrame(
        {"x": x, "y": y, "at": times, "origin": rng.choice(["JFK", "EWR"], num_rows)},
        schema_overrides={"at": pl.Datetime("us", "UTC")},
    ).with_columns(_label=pl.Series(late))


GOOD, POOR = bundle([[2.0], [0.0]]), bundle([[1.0], [1.0]])


def test_a_better_challenger_is_seen_and_passes() -> None:
    found = measure_gate(GOOD, POOR, rows(), project())
    frame = rows()
    target = frame["_label"].cast(pl.Int64).to_numpy()
    expected = metric("log_loss", target, 1 / (1 + np.exp(-2 * frame["x"].to_numpy())))
    assert found.scores["log_loss"] == pytest.approx(expected, abs=1e-6)
    assert found.gain is not None
    assert found.gain.estimate == pytest.approx(
        found.champion_scores["log_loss"] - found.scores["log_loss"]
    )
    assert found.gain.low > 0
    assert (found.num_rows, found.num_groups) == (2000, 20)
    assert found.first == "2013-03-01T00:00:00+00:00"
    assert 0 < (found.latency_ms or 0) < 50
    assert 0 < found.size_mb < 1
    assert objections(found, GateSpec()) == []


def test_a_worse_challenger_is_held() -> None:
    found = objections(measure_gate(POOR, GOOD, rows(), project()), GateSpec())
    assert len(found) == 1
    assert "its lower end is under gate.min_gain" in found[0]


def test_a_first_model_must_beat_the_base_rate() -> None:
    assert objections(measure_gate(GOOD, None, rows(), project()), GateSpec()) == []
    noise = bundle([[0.0], [1.0]])
    found = objections(measure_gate(noise, None, rows(), project()), GateSpec())
    assert "a first model must beat it" in found[0]


def test_slices_are_measured_the_worst_first() -> None:
    frame = rows().with_columns(
        _label=pl.when(pl.col("origin") == "EWR")
        .then(~pl.col("_label"))
        .otherwise(pl.col("_label"))
    )
    spec = {"slices": ("origin",), "slice_floor": 0.7}
    found = measure_gate(GOOD, POOR, frame, project(**spec))
    assert [s.value for s in found.slices] == ["EWR", "JFK"]
    assert found.slices[0].champion is not None
    against = [o for o in objections(found, GateSpec(**spec)) if "gate.slice_floor" in o]
    assert len(against) == 1
    assert "'EWR'" in against[0]


def test_small_slices_are_left_out() -> None:
    found = measure_gate(GOOD, None, rows(), project(slices=("origin",), slice_min_rows=1500))
    assert found.slices == ()


def test_a_challenger_that_answers_no_numbers_is_held() -> None:
    broken = bundle([[float("nan")], [0.0]])
    found = objections(measure_gate(broken, GOOD, rows(), project()), GateSpec())
    assert found == ["the challenger's prediction is no number for 2000 of 2000 rows"]


def test_a_champion_that_answers_no_numbers_stands_in_nobodys_way() -> None:
    broken = bundle([[float("nan")], [0.0]])
    found = measure_gate(GOOD, broken, rows(), project())
    assert found.champion is None
    assert found.note.startswith("the champion's prediction is no number")
    assert objections(found, GateSpec()) == []


def test_a_champion_whose_columns_are_gone_stands_in_nobodys_way() -> None:
    found = measure_gate(GOOD, bundle([[1.0], [1.0]], names=("x", "gone")), rows(), project())
    assert found.gain is None
    assert "the champion cannot read the gate rows" in found.note


def test_a_champion_of_another_task_is_no_rival() -> None:
    found = measure_gate(GOOD, bundle([[1.0], [0.0]], "regression"), rows(), project())
    assert found.note == "the champion answers another task, regression"


def test_an_auc_of_one_class_is_an_objection_and_not_a_crash() -> None:
    frame = rows().with_columns(_label=pl.lit(value=True))
    found = objections(measure_gate(GOOD, POOR, frame, project(metric="auc")), GateSpec())
    assert "gate.metric could not be measured: auc: all 2000 labels are the same" in found[0]


def test_rows_without_a_known_label_are_counted_and_left_out() -> None:
    frame = rows().with_columns(_label=pl.Series(["1", None, "maybe", *["0", "1"] * 998, "0"]))
    found = measure_gate(GOOD, None, frame, project())
    assert (found.num_rows, found.num_unknown) == (1998, 2)


def test_no_rows_are_too_few() -> None:
    found = measure_gate(GOOD, POOR, rows().head(0), project())
    assert objections(found, GateSpec()) == ["0 gate rows are fewer than gate.min_rows 100"]


def test_values_are_judged_by_their_rmse() -> None:
    frame = rows().with_columns(_label=3 * pl.col("x"))
    good, poor = (bundle([[w], [0.0]], "regression") for w in (3.0, 1.0))
    found = measure_gate(good, poor, frame, project())
    assert found.metric == "rmse"
    assert found.scores["rmse"] == pytest.approx(0, abs=1e-5)
    assert objections(found, GateSpec()) == []


def test_a_champion_that_lacks_a_class_is_compared_on_all_rows() -> None:
    frame = rows().with_columns(
        _label=pl.when(pl.col("y") > 0.5)
        .then(pl.lit("c"))
        .otherwise(pl.when(pl.col("x") > 0).then(pl.lit("b")).otherwise(pl.lit("a")))
    )
    challenger = bundle([[-1.0, 1.0, 0.0], [0.0, 0.0, 2.0]], "multiclass", ("a", "b", "c"))
    champion = bundle([[1.0, -1.0], [0.0, 0.0]], "multiclass", ("b", "a"))
    found = measure_gate(challenger, champion, frame, project())
    assert found.num_rows == 2000
    assert found.champion_scores["log_loss"] > 3
    assert found.champion_scores["accuracy"] > 0.5
    assert found.gain is not None
    assert found.gain.low > 0


def test_evidence_survives_json_and_is_the_same_twice() -> None:
    one, two = (
        measure_gate(GOOD, POOR, rows(), project()).model_copy(update={"latency_ms": 1.0})
        for _ in range(2)
    )
    assert one == two == Evidence.model_validate_json(one.model_dump_json())
