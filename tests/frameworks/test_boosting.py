import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from everloop.frameworks.boosting import Boosting, FittedBoosting
from everloop.frameworks.onnx_runtime import open_session
from everloop.frameworks.protocol import Examples, FitJob
from everloop.rows.vectorised import Encoded
from everloop.spec.errors import DataError
from everloop.spec.manifest import Task
from everloop.spec.project import BoostingSpec, TrainSpec

SIZES = (40, 7)


def rows(num_rows: int, seed: int, *, with_null: bool = True) -> Encoded:
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=(num_rows, 4)).astype(np.float32)
    numbers[:, 1] = np.round(numbers[:, 1], 1)
    if with_null:
        numbers[rng.random(numbers.shape) < 0.1] = np.nan
    return Encoded(numbers, np.stack([rng.integers(0, n, num_rows) for n in SIZES], axis=1))


def target(encoded: Encoded, task: Task) -> npt.NDArray[Any]:
    rng = np.random.default_rng(0)
    score = rng.normal(size=len(encoded)) / 2
    score += np.nan_to_num(encoded.numbers[:, 0]) + np.sin(encoded.codes[:, 0])
    if task == "regression":
        return score * 1000 + 1e5
    return np.digitize(score, [0.0] if task == "binary" else [-0.5, 0.5]).astype(np.int64)


def fit(
    task: Task = "binary", num_rows: int = 2000, *, with_null: bool = True, **spec: Any
) -> FittedBoosting:
    fit_rows, tune_rows = rows(num_rows, 1, with_null=with_null), rows(500, 2, with_null=with_null)
    job = FitJob(
        task=task,
        num_classes={"binary": 2, "multiclass": 3, "regression": 0}[task],
        number_names=("a", "b", "c", "d"),
        code_sizes=SIZES,
        spec=TrainSpec(boosting=BoostingSpec(**{"num_trees": 60, **spec})),
        work=Path("unused"),
    )
    return Boosting().fit(
        Examples(fit_rows, target(fit_rows, task)),
        Examples(tune_rows, target(tune_rows, task)),
        job,
    )


def run_core(core: onnx.ModelProto, encoded: Encoded) -> npt.NDArray[np.float32]:
    onnx.checker.check_model(core)
    feeds = {"numbers": encoded.numbers, "codes": encoded.codes}
    names = {i.name for i in core.graph.input}
    found = open_session(core.SerializeToString()).run(
        None, {k: v for k, v in feeds.items() if k in names}
    )
    return np.asarray(found[0])


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_the_graph_says_what_the_trees_say(task: Task) -> None:
    fitted = fit(task)
    fresh = rows(3000, 3)
    raw = fitted.raw(fresh)
    assert raw.shape == ((3000, 3) if task == "multiclass" else (3000,))
    # Only the last cast to float32 stands between the two.
    np.testing.assert_array_equal(run_core(fitted.core(), fresh), raw.astype(np.float32))


@pytest.mark.parametrize(
    "spec", [{"extra_trees": True}, {"max_bin": 8}, {"num_leaves": 200, "min_leaf_rows": 1}]
)
def test_the_graph_is_exact_for_other_kinds_of_trees(spec: dict[str, Any]) -> None:
    fitted = fit(**spec)
    fresh = rows(2000, 7)
    np.testing.assert_array_equal(
        run_core(fitted.core(), fresh), fitted.raw(fresh).astype(np.float32)
    )


def test_a_null_in_a_column_that_had_none_goes_where_lightgbm_sends_it() -> None:
    fitted = fit(with_null=False)
    fresh = rows(2000, 4, with_null=True)
    np.testing.assert_array_equal(
        run_core(fitted.core(), fresh), fitted.raw(fresh).astype(np.float32)
    )


def test_codes_never_seen_and_extreme_numbers_fall_the_same_way() -> None:
    fitted = fit()
    fresh = rows(400, 5)
    fresh.codes[:200] = 0
    fresh.codes[200:, 0] = 39
    fresh.numbers[::3] = np.float32(3.4e38)
    fresh.numbers[1::3] = np.float32(-3.4e38)
    fresh.numbers[2::3] = np.float32(1e-38)
    np.testing.assert_array_equal(
        run_core(fitted.core(), fresh), fitted.raw(fresh).astype(np.float32)
    )


def test_numbers_on_a_split_itself_fall_the_same_way() -> None:
    fitted = fit()
    splits = {
        node["threshold"]
        for tree in fitted._booster.dump_model()["tree_info"]
        for node in walk(tree["tree_structure"])
        if node["decision_type"] == "<="
    }
    near = np.array(sorted(splits), np.float32)
    # The smallest numbers that are not 0 are worth a look too: LightGBM takes them for 0.
    values = np.concatenate([near, np.nextafter(near, np.float32(9)), np.nextafter(near, -near)])
    fresh = Encoded(np.repeat(values[:, None], 4, axis=1), np.ones((len(values), 2), np.int64))
    np.testing.assert_array_equal(
        run_core(fitted.core(), fresh), fitted.raw(fresh).astype(np.float32)
    )


def walk(node: dict[str, Any]) -> list[dict[str, Any]]:
    if "split_index" not in node:
        return []
    return [node, *walk(node["left_child"]), *walk(node["right_child"])]


def test_trees_of_one_leaf_are_a_graph_too() -> None:
    fitted = fit(num_rows=60, min_leaf_rows=60)
    fresh = rows(10, 6)
    np.testing.assert_allclose(run_core(fitted.core(), fresh), fitted.raw(fresh), rtol=1e-6)


def test_the_same_seed_gives_the_same_trees() -> None:
    first, second = fit(), fit()
    assert first._booster.model_to_string() == second._booster.model_to_string()


def test_training_stops_when_the_tune_rows_gain_no_more() -> None:
    assert fit(num_trees=400, learning_rate=0.5, patience=5)._booster.best_iteration < 100


def test_no_column_at_all_is_refused() -> None:
    empty = Encoded(np.empty((10, 0), np.float32), np.empty((10, 0), np.int64))
    examples = Examples(empty, np.arange(10) % 2)
    job = FitJob(
        task="binary",
        num_classes=2,
        number_names=(),
        code_sizes=(),
        spec=TrainSpec(),
        work=Path("unused"),
    )
    with pytest.raises(DataError, match="no column is left"):
        Boosting().fit(examples, examples, job)


def test_boosting_never_loads_torch() -> None:
    code = "import sys, everloop.frameworks.boosting; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
