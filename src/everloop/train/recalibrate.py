"""New slope and bias for a bundle, from newer labelled rows; the model itself stays."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import polars as pl
from onnx import helper

from everloop.frameworks.onnx_runtime import MODEL, open_session
from everloop.measure.calibration import Prior, fit_calibration, to_prediction
from everloop.measure.metrics import metric, task_metrics
from everloop.rows.graph import set_calibration
from everloop.rows.labels import known_labels
from everloop.rows.vectorised import tensors
from everloop.spec.errors import DataError
from everloop.spec.manifest import Calibration, DataVersion, Manifest, Task
from everloop.spec.project import Project
from everloop.store.bundles import Bundle, Draft
from everloop.train.splits import LABEL, row_range
from everloop.train.train import project_digest

RAW: Final = "core/raw"
_MIN_ROWS: Final = 20
_BATCH_ROWS: Final = 65_536


@dataclass(frozen=True, kw_only=True)
class RecalibrateJob:
    """What a recalibration needs beside rows and bundle.

    Attributes:
        created_at: For the manifest.
        data: Table versions that were read.
        stream_time: Newest time of data that had been seen.
    """

    created_at: datetime
    data: Sequence[DataVersion] = ()
    stream_time: datetime | None = None


def recalibrate(
    bundle: Bundle, frame: pl.DataFrame, project: Project, job: RecalibrateJob
) -> Draft:
    """Fit slope and bias to labelled rows; all else of the graph is the bundle's.

    Args:
        bundle: The model to correct.
        frame: Labelled rows with ``_label``, newer than those the model was made of.
        project: Its ``retrain.recalibrate_prior_rows``; the rest is for the manifest.
        job: For the manifest.

    Raises:
        DataError: If there are too few rows, or rows of one class only.
    """
    manifest = bundle.manifest
    frame, target = _labelled(frame, manifest)
    graph = onnx.load_model_from_string(bundle.files[MODEL])
    raw = raw_outputs(graph, frame, manifest)
    prior_rows = project.retrain.recalibrate_prior_rows
    prior = Prior(slope_rows=prior_rows, bias_rows=prior_rows)
    calibration = fit_calibration(manifest.task, raw, target, prior)
    changed = set_calibration(graph, calibration)
    before = _scores(manifest.task, raw, target, manifest.calibration)
    after = _scores(manifest.task, raw, target, calibration)
    metrics = {f"recalibrate.{name}": score for name, score in after.items()}
    metrics |= {f"recalibrate.{name}_before": score for name, score in before.items()}
    update: dict[str, Any] = {
        "calibration": calibration,
        "parents": (bundle.digest,),
        "metrics": metrics,
        "splits": dict(manifest.splits) | {"recalibrate": row_range(frame, manifest.time_column)},
        "created_at": job.created_at.isoformat(),
        "project_digest": project_digest(project),
    }
    update |= {"data": tuple(job.data)} if job.data else {}
    update |= {"stream_time": job.stream_time.isoformat()} if job.stream_time else {}
    files = dict(bundle.files) | {MODEL: changed.SerializeToString(deterministic=True)}
    return Draft(manifest=manifest.model_copy(update=update), files=files)


def raw_outputs(
    graph: onnx.ModelProto, frame: pl.DataFrame, manifest: Manifest
) -> npt.NDArray[np.float32]:
    """Score rows before calibration: logits (N,) or (N, K), or values (N,)."""
    tapped = onnx.ModelProto()
    tapped.CopyFrom(graph)
    # Taken from before the tail, since a probability of 1 in float32 has no logit any more.
    tapped.graph.output.append(helper.make_tensor_value_info(RAW, onnx.TensorProto.FLOAT, None))
    session = open_session(tapped.SerializeToString())
    found = [
        session.run([RAW], tensors(frame.slice(start, _BATCH_ROWS), manifest.columns))[0]
        for start in range(0, frame.height, _BATCH_ROWS)
    ]
    return np.concatenate(found)


def _labelled(frame: pl.DataFrame, manifest: Manifest) -> tuple[pl.DataFrame, npt.NDArray[Any]]:
    target, known = known_labels(frame[LABEL], manifest.task, manifest.classes)
    if known.sum() < _MIN_ROWS:
        raise DataError(
            f"recalibrate: found {known.sum()} rows with a label that the model knows, expected "
            f"{_MIN_ROWS} at least; wait for more labels"
        )
    target = target[known]
    if manifest.task != "regression" and len(np.unique(target)) == 1:
        raise DataError(
            f"recalibrate: all {len(target)} rows have the label "
            f"{manifest.classes[int(target[0])]!r}, expected two classes; wait for more labels"
        )
    return frame.filter(pl.Series(known)), target


def _scores(
    task: Task, raw: npt.NDArray[Any], target: npt.NDArray[Any], calibration: Calibration
) -> dict[str, float]:
    prediction = to_prediction(task, raw, calibration)
    return {name: metric(name, target, prediction) for name in task_metrics(task)}
