"""Fits a model to split rows and makes a bundle of it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

import everloop
from everloop.frameworks import FAMILIES
from everloop.frameworks.onnx_runtime import MODEL, open_session
from everloop.frameworks.protocol import Examples, Family, FitJob, Fitted
from everloop.measure.calibration import fit_calibration, to_prediction
from everloop.measure.metrics import metric, task_metrics
from everloop.measure.profile import make_profile
from everloop.rows.columns import OUTPUTS, code_sizes, number_names
from everloop.rows.fit import fit_columns
from everloop.rows.graph import input_tensors, output_tensors, wrap
from everloop.rows.labels import find_task, label_codes
from everloop.rows.vectorised import encode, tensors
from everloop.spec.errors import DataError
from everloop.spec.kinds import resolve
from everloop.spec.manifest import Calibration, DataVersion, Manifest, Task
from everloop.spec.progress import Progress, no_progress
from everloop.spec.project import Project
from everloop.spec.steps import ColumnSteps
from everloop.store.bundles import Draft
from everloop.train.splits import LABEL, Splits

PROFILE: Final = "profile.json"
_PACKAGES: Final = ("lightgbm", "numpy", "onnx", "onnxruntime", "polars", "torch")
_PARITY_ROWS: Final = 65_536
_PROFILE_ROWS: Final = 10_000


@dataclass(frozen=True, kw_only=True)
class TrainJob:
    """What training needs beside rows and project.

    Attributes:
        work: A directory of this training's own; a killed training goes on from what lies in it.
        created_at: For the manifest.
        data: Table versions that were read.
        stream_time: Newest time of data that had been seen.
        progress: Told about trees or epochs.
    """

    work: Path
    created_at: datetime
    data: Sequence[DataVersion] = ()
    stream_time: datetime | None = None
    progress: Progress = no_progress


@dataclass(frozen=True)
class _Model:
    """A fitted model on its way to a bundle."""

    task: Task
    classes: tuple[str, ...]
    columns: tuple[ColumnSteps, ...]
    fitted: Fitted
    calibration: Calibration
    tuned: npt.NDArray[np.float64]
    """What it predicts of the tune rows."""

    def predict(self, frame: pl.DataFrame) -> npt.NDArray[np.float64]:
        return to_prediction(
            self.task, self.fitted.raw(encode(frame, self.columns)), self.calibration
        )


def train(splits: Splits, project: Project, job: TrainJob) -> Draft:
    """Fit row steps and a model, calibrate it, put both in one graph, prove the graph, measure.

    Raises:
        DataError: If the rows cannot be learned from; the message says why.
        RuntimeError: If the graph does not say what the model says, which is a bug.
    """
    model = _fit(splits, project, job)
    graph = wrap(model.fitted.core(), model.columns, model.task, model.calibration)
    data = graph.SerializeToString(deterministic=True)
    _prove(data, model, splits.tune)
    files = {MODEL: data, PROFILE: _profile(splits.fit, model, project)}
    return Draft(manifest=_manifest(splits, project, job, model), files=files)


def feature_names(frame: pl.DataFrame, project: Project) -> tuple[str, ...]:
    """Return the model's inputs: what the project names, or all but those it must not see."""
    if project.train.features is not None:
        return project.train.features
    left_out = {*project.main.key, project.main.time, *project.train.exclude}
    found = tuple(n for n in frame.columns if n not in left_out and not n.startswith("_"))
    if not found:
        raise DataError(
            f"train.features: no column is left to learn from; the rows have "
            f"{', '.join(frame.columns)}, less key, time and label"
        )
    return found


def project_digest(project: Project) -> str:
    """Return the sha256 of the project's canonical JSON, in hex."""
    text = json.dumps(project.model_dump(mode="json", by_alias=True), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _fit(splits: Splits, project: Project, job: TrainJob) -> _Model:
    spec = project.train
    every = pl.concat([f[LABEL] for f in (splits.fit, splits.tune, splits.select, splits.gate)])
    task, classes = find_task(every, spec.task)
    features = feature_names(splits.fit, project)
    columns = fit_columns(splits.fit, features, project.columns, spec.model)
    fit, tune = (
        Examples(encode(frame, columns), _target(frame, task, classes))
        for frame in (splits.fit, splits.tune)
    )
    family: Family = resolve(FAMILIES, spec.model, where="train.model", extra="train")()
    fitted = family.fit(
        fit,
        tune,
        FitJob(
            task=task,
            num_classes=len(classes),
            number_names=number_names(columns),
            code_sizes=code_sizes(columns),
            spec=spec,
            work=job.work,
            progress=job.progress,
        ),
    )
    raw = fitted.raw(tune.encoded)
    calibration = fit_calibration(task, raw, tune.target) if spec.calibrate else Calibration()
    tuned = to_prediction(task, raw, calibration)
    return _Model(task, classes, columns, fitted, calibration, tuned)


def _target(frame: pl.DataFrame, task: Task, classes: Sequence[str]) -> npt.NDArray[Any]:
    target = label_codes(frame[LABEL], task, classes)
    if task == "regression" and not np.isfinite(target).all():
        raise DataError(
            "the label: found infinite numbers or NaN, expected numbers; add a rule that sets "
            "such rows aside"
        )
    return target


def _prove(data: bytes, model: _Model, tune: pl.DataFrame) -> None:
    session = open_session(data)
    for start in range(0, tune.height, _PARITY_ROWS):
        rows = tune.slice(start, _PARITY_ROWS)
        found = session.run([OUTPUTS[model.task]], tensors(rows, model.columns))[0]
        expected = model.tuned[start : start + _PARITY_ROWS]
        worst = float(np.abs(found - expected).max())
        allowed = model.fitted.parity * max(1.0, float(np.abs(expected).max()))
        if not worst <= allowed:
            raise RuntimeError(
                f"train: the graph's {OUTPUTS[model.task]} is {worst:.2e} from the model's on a "
                f"tune row, expected at most {allowed:.0e}; please report this with the project"
            )


def _profile(frame: pl.DataFrame, model: _Model, project: Project) -> bytes:
    """Profile the inputs, and what the model says of some of them under the output's name."""
    kinds = {c.name: c.kind for c in model.columns}
    bins = project.monitor.bins
    inputs = make_profile(frame.select(list(kinds)), bins=bins, kinds=kinds)
    some = frame.gather_every(-(-frame.height // _PROFILE_ROWS))
    score = model.predict(some)
    if model.task == "multiclass":
        best = [model.classes[code] for code in score.argmax(axis=1)]
        said = pl.Series(OUTPUTS[model.task], best, dtype=pl.String)
    else:
        said = pl.Series(OUTPUTS[model.task], score)
    scores = make_profile(said.to_frame(), bins=bins)
    both = inputs.model_copy(update={"columns": {**inputs.columns, **scores.columns}})
    return both.model_dump_json().encode()


def _metrics(splits: Splits, model: _Model) -> dict[str, float]:
    found = {}
    measured = {
        "tune": (splits.tune, model.tuned),
        "select": (splits.select, model.predict(splits.select)),
    }
    for split, (frame, prediction) in measured.items():
        target = _target(frame, model.task, model.classes)
        for name in task_metrics(model.task):
            # An AUC of one class is no number; a small select split may well hold one.
            if name != "auc" or len(np.unique(target)) > 1:
                found[f"{split}.{name}"] = metric(name, target, prediction)
    return found


def _manifest(splits: Splits, project: Project, job: TrainJob, model: _Model) -> Manifest:
    extra = (project.main.time, *project.main.key)
    return Manifest(
        name=project.project.name,
        task=model.task,
        family=project.train.model,
        classes=model.classes,
        inputs=input_tensors(model.columns),
        outputs=output_tensors(model.task, len(model.classes)),
        columns=model.columns,
        logged=tuple(dict.fromkeys(name for name in extra if name)),
        time_column=project.main.time,
        data=tuple(job.data),
        splits=dict(splits.ranges),
        metrics=_metrics(splits, model),
        calibration=model.calibration,
        project_digest=project_digest(project),
        seed=project.train.seed,
        created_at=job.created_at.isoformat(),
        stream_time=job.stream_time.isoformat() if job.stream_time else None,
        versions=library_versions(),
    )


@cache
def library_versions() -> Mapping[str, str]:
    """Return the versions of everloop and of the libraries that make and run a model."""
    found = {"everloop": everloop.__version__}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
