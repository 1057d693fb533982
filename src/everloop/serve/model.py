"""One loaded version: its graph, its input form, and what a call of it costs."""

import time
from collections.abc import Callable, Sequence
from itertools import chain
from math import isfinite
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from everloop.frameworks.onnx_runtime import Scorer
from everloop.rows.replica import Tensors, parse_inputs
from everloop.serve.inputs import InputForm, Rows, Value
from everloop.serve.v2 import AnswerHead
from everloop.spec.errors import DataError
from everloop.spec.manifest import Manifest
from everloop.spec.steps import ColumnSteps
from everloop.store.bundles import Bundle

INLINE_ONE_ROW_S = 200e-6
INLINE_BATCH_S = 2e-3
_PROBE_ROWS = 32
_PROBE_ROUNDS = 5
_PROBE_TIME = "2024-02-29T12:30:00Z"


class ModelFailedError(RuntimeError):
    """The graph could not be run on values that were parsed without a mistake."""


Outcome = list[Any] | DataError | ModelFailedError


class Scores(Protocol):
    """What runs the graph."""

    def run(self, tensors: Tensors) -> npt.NDArray[Any]:
        """Return one prediction for each row."""


class Model:
    """One version, ready to answer.

    Attributes:
        version: As the registry numbers it.
        digest: Of its bundle.
        manifest: Of its bundle.
        form: Checks requests.
        head: Encodes answers.
    """

    def __init__(
        self, manifest: Manifest, digest: str, version: int, scorer: Scores, *, max_rows: int
    ) -> None:
        self.manifest = manifest
        self.digest = digest
        self.version = version
        self.form = InputForm(manifest, max_rows=max_rows)
        self.head = AnswerHead(manifest, version)
        self._scorer = scorer
        self._one_row_s = 0.0
        self._row_s = 0.0

    def is_inline(self, num_rows: int) -> bool:
        """Whether so few rows are predicted sooner than a thread is woken, or nearly so."""
        batch_s = self._one_row_s + self._row_s * num_rows
        return self._one_row_s < INLINE_ONE_ROW_S and batch_s < INLINE_BATCH_S

    def predict(self, batch: Sequence[Rows]) -> list[Outcome]:
        """Predict several requests in one call; a bad value fails its own request alone.

        Returns:
            For each request its predictions, one for each row, or what is wrong with it, or with
            the model's answer to it.
        """
        try:
            return list(self._predict_all(batch))
        except DataError as error:
            if len(batch) == 1:
                return [error]
        return self._predict_good(batch)

    def _predict_good(self, batch: Sequence[Rows]) -> list[Outcome]:
        outcomes: list[Outcome | None] = [self._mistake(rows) for rows in batch]
        good = [rows for rows, mistake in zip(batch, outcomes, strict=True) if mistake is None]
        found = iter(self._predict_all(good) if good else [])
        return [next(found) if outcome is None else outcome for outcome in outcomes]

    def _mistake(self, rows: Rows) -> DataError | None:
        try:
            parse_inputs(self.manifest.columns, rows.columns, rows.num_rows)
        except DataError as error:
            return error
        return None

    def _predict_all(self, batch: Sequence[Rows]) -> list[Outcome]:
        num_rows = sum(rows.num_rows for rows in batch)
        tensors = parse_inputs(self.manifest.columns, _joined(batch), num_rows)
        values: list[Any] = self._score(tensors).tolist()
        if len(batch) == 1:
            return [_checked(values)]
        results: list[Outcome] = []
        start = 0
        for rows in batch:
            results.append(_checked(values[start : start + rows.num_rows]))
            start += rows.num_rows
        return results

    def _score(self, tensors: Tensors) -> npt.NDArray[Any]:
        try:
            return self._scorer.run(tensors)
        except DataError as error:
            # The values were parsed, so this is the graph's fault and not the client's, and the
            # runtime's text is for the log alone.
            raise ModelFailedError(str(error)) from error

    def warm_up(self, clock: Callable[[], float] = time.perf_counter) -> None:
        """Run the graph on made-up rows: check what comes out and measure what it costs.

        Raises:
            DataError: If the outputs are not what the manifest says, or not finite.
        """
        one = _probe(self.manifest, 1)
        many = _probe(self.manifest, _PROBE_ROWS)
        self._check_output(one)
        self._check_output(many)
        self._one_row_s = min(self._timed(one, clock) for _ in range(_PROBE_ROUNDS))
        many_s = min(self._timed(many, clock) for _ in range(_PROBE_ROUNDS))
        self._row_s = max(many_s - self._one_row_s, 0.0) / (_PROBE_ROWS - 1)

    def _timed(self, rows: Rows, clock: Callable[[], float]) -> float:
        start = clock()
        self._predict_all([rows])
        return clock() - start

    def _check_output(self, rows: Rows) -> None:
        tensors = parse_inputs(self.manifest.columns, rows.columns, rows.num_rows)
        found = np.asarray(self._scorer.run(tensors))
        shape = (rows.num_rows, *self.manifest.outputs[0].shape[1:])
        if found.shape != shape:
            raise DataError(f"the model's output has shape {found.shape}, expected {shape}")
        if not np.isfinite(found).all():
            raise DataError("the model's output on a probe is not finite")


def _checked(values: list[Any]) -> Outcome:
    flat = chain.from_iterable(values) if isinstance(values[0], list) else values
    if all(map(isfinite, flat)):
        return values
    return ModelFailedError("the model's answer to a request is no finite number")


def load_model(bundle: Bundle, version: int, *, threads: int, max_rows: int) -> Model:
    """Load and warm up a verified bundle.

    Raises:
        DataError: If it cannot be loaded, or does not do what its manifest says.
    """
    _check_signature(bundle.manifest)
    try:
        scorer = Scorer(bundle, threads=threads)
        model = Model(bundle.manifest, bundle.digest, version, scorer, max_rows=max_rows)
        model.warm_up()
    except DataError:
        raise
    except Exception as error:  # the runtime's own errors have no common root but this
        raise DataError(f"version {version} cannot be loaded: {error}") from error
    return model


def _check_signature(manifest: Manifest) -> None:
    inputs, columns = {t.name for t in manifest.inputs}, {c.name for c in manifest.columns}
    if inputs != columns or len(manifest.outputs) != 1:
        raise DataError(
            "the manifest's inputs are not its columns, or it has several outputs: "
            f"{sorted(inputs ^ columns)[:5]}, {len(manifest.outputs)} outputs"
        )


def _joined(batch: Sequence[Rows]) -> dict[str, list[Value]]:
    if len(batch) == 1:
        return batch[0].columns
    return {
        name: [value for rows in batch for value in rows.columns[name]] for name in batch[0].columns
    }


def _probe(manifest: Manifest, num_rows: int) -> Rows:
    columns = {column.name: [_probe_value(column)] * num_rows for column in manifest.columns}
    return Rows(num_rows, columns, {})


def _probe_value(column: ColumnSteps) -> Value:
    if column.kind == "time":
        return _PROBE_TIME
    if column.kind == "number":
        means = [step.mean[0] for step in column.steps if step.kind == "scale" and step.mean]
        return means[0] if means else 0.0
    found = [step.values[0] for step in column.steps if step.kind == "lookup" and step.values]
    return found[0] if found else ""
