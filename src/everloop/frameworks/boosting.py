"""Gradient boosted trees with LightGBM."""

from typing import Any, Final

import lightgbm
import numpy as np
import numpy.typing as npt
import onnx

from everloop.frameworks.protocol import Examples, FitJob, Raw
from everloop.frameworks.trees import trees_core
from everloop.rows.vectorised import Encoded
from everloop.spec.errors import DataError

_OBJECTIVES: Final = {"binary": "binary", "multiclass": "multiclass", "regression": "regression"}
_METRICS: Final = {"binary": "binary_logloss", "multiclass": "multi_logloss", "regression": "l2"}
_MAX_DEPTH: Final = 128


class Boosting:
    """Fits LightGBM; the same rows, settings and thread count give the same trees."""

    def fit(self, fit: Examples, tune: Examples, job: FitJob) -> "FittedBoosting":
        """Fit trees until the tune rows gain nothing for `patience` trees; all of them if it is 0.

        Raises:
            DataError: If there is no column to learn from.
        """
        if fit.encoded.numbers.shape[1] + fit.encoded.codes.shape[1] == 0:
            raise DataError("train.features: no column is left to learn from")
        params = _params(job)
        train_set = _dataset(fit, params)
        callbacks, watched = [_tell(job)], []
        if patience := job.spec.boosting.patience:
            callbacks.append(lightgbm.early_stopping(patience, verbose=False))
            watched.append(_dataset(tune, params, train_set))
        booster = lightgbm.train(
            params,
            train_set,
            num_boost_round=job.spec.boosting.num_trees,
            valid_sets=watched,
            callbacks=callbacks,
        )
        return FittedBoosting(booster, fit.encoded, job)


class FittedBoosting:
    """Trees, cut at the best number of them."""

    parity = 1e-5

    def __init__(self, booster: lightgbm.Booster, like: Encoded, job: FitJob) -> None:
        self._booster = booster
        self._num_trees = max(booster.best_iteration, 0) or booster.current_iteration()
        self._num_numbers = like.numbers.shape[1]
        self._num_codes = like.codes.shape[1]
        self._num_targets = job.num_classes if job.task == "multiclass" else 1
        self._threads = job.spec.threads

    def raw(self, encoded: Encoded) -> Raw:
        """Return logits (N,), logits (N, K) or values (N,)."""
        if len(encoded) == 0:
            return np.empty((0, self._num_targets) if self._num_targets > 1 else 0)
        found = self._booster.predict(
            _matrix(encoded),
            raw_score=True,
            num_iteration=self._num_trees,
            num_threads=self._threads,
        )
        return np.asarray(found, np.float64)

    def core(self) -> onnx.ModelProto:
        """Return the trees as an ONNX graph."""
        dumped = self._booster.dump_model(num_iteration=self._num_trees)
        return trees_core(
            [tree["tree_structure"] for tree in dumped["tree_info"]],
            num_numbers=self._num_numbers,
            num_codes=self._num_codes,
            num_targets=self._num_targets,
        )


def _params(job: FitJob) -> dict[str, Any]:
    spec = job.spec.boosting
    params: dict[str, Any] = {
        "objective": _OBJECTIVES[job.task],
        "metric": _METRICS[job.task],
        "learning_rate": spec.learning_rate,
        "num_leaves": spec.num_leaves,
        "max_depth": _MAX_DEPTH,
        "min_data_in_leaf": spec.min_leaf_rows,
        "feature_fraction": spec.column_ratio,
        "lambda_l2": spec.l2,
        "max_bin": spec.max_bin,
        "extra_trees": spec.extra_trees,
        "seed": job.spec.seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": job.spec.threads,
        "verbosity": -1,
    }
    return params | ({"num_class": job.num_classes} if job.task == "multiclass" else {})


def _dataset(
    examples: Examples, params: dict[str, Any], reference: lightgbm.Dataset | None = None
) -> lightgbm.Dataset:
    num_numbers, num_codes = examples.encoded.numbers.shape[1], examples.encoded.codes.shape[1]
    return lightgbm.Dataset(
        _matrix(examples.encoded),
        label=examples.target,
        reference=reference,
        categorical_feature=list(range(num_numbers, num_numbers + num_codes)),
        params=params,
        free_raw_data=True,
    )


def _matrix(encoded: Encoded) -> npt.NDArray[np.float32]:
    # float32, as the graph gets its inputs; codes are far below the 2**24 that it holds exactly.
    return np.concatenate([encoded.numbers, encoded.codes.astype(np.float32)], axis=1)


def _tell(job: FitJob) -> Any:  # noqa: ANN401 - LightGBM's callbacks take a type it does not export
    def tell(env: Any) -> None:  # noqa: ANN401
        job.progress("trees", env.iteration + 1, env.end_iteration)

    return tell
