"""Tries smaller variants of a bundle's core, measures them against it, and keeps the best."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import polars as pl

from everloop.compress.evidence import Measured, VariantEvidence, objection, weigh
from everloop.frameworks.onnx_runtime import MODEL, open_session
from everloop.measure.metrics import metric, task_metrics
from everloop.rows.labels import known_labels
from everloop.rows.vectorised import tensors
from everloop.spec.kinds import resolve
from everloop.spec.manifest import Manifest, Task
from everloop.spec.project import Project
from everloop.spec.values import Metric
from everloop.store.bundles import Bundle, Draft

VARIANTS: Final[Mapping[str, str]] = {"int8": "everloop.compress.int8:quantize"}
"""`compress.variants` to a function from a graph to a smaller one, or to a sentence why not."""

_BATCH_ROWS: Final = (1, 32)
_ROUNDS: Final = 60
_SCORE_ROWS: Final = 65_536

Rows = npt.NDArray[Any]
Timer = Callable[[], float]


@dataclass(frozen=True)
class Compressed:
    """What compression came to.

    Attributes:
        draft: The variant that takes the model's place; None where none helps.
        tried: Every variant, with its numbers and the reason it was taken or not.
    """

    draft: Draft | None
    tried: tuple[VariantEvidence, ...]


class SelectRows(Protocol):
    """What compression asks of the splits."""

    @property
    def select(self) -> pl.DataFrame:
        """Labelled rows, with ``_label``, that the model has not seen."""


@dataclass(frozen=True)
class _Select:
    """The rows that variants are chosen on."""

    manifest: Manifest
    metric: Metric
    inputs: dict[str, Rows]
    target: Rows

    def run(self, session: onnxruntime.InferenceSession, num_rows: int | None = None) -> Rows:
        size = num_rows or len(self.target)
        places = [slice(at, min(at + _SCORE_ROWS, size)) for at in range(0, size, _SCORE_ROWS)]
        return np.concatenate(
            [session.run(None, {k: v[at] for k, v in self.inputs.items()})[0] for at in places]
        )


def compress(
    bundle: Bundle, splits: SelectRows, project: Project, *, timer: Timer = time.perf_counter
) -> Compressed:
    """Try every variant of `compress.variants`; the fastest that keeps within the budget wins.

    Args:
        bundle: The model as it was trained.
        splits: Its select rows are what variants are measured on.
        project: Its `compress`, the gate's metric and the server's threads.
        timer: Seconds that rise.

    Returns:
        The winner's draft, or none, and what was measured of each variant. A draft keeps the
        bundle's time of making.
    """
    rows = _select_rows(bundle.manifest, splits.select, project)
    reference = bundle.files[MODEL]
    tried: list[VariantEvidence] = []
    graphs: list[bytes | None] = []
    for kind in project.compress.variants:
        make = resolve(VARIANTS, kind, where="compress.variants", extra="train")
        made: onnx.ModelProto | str = make(onnx.load_model_from_string(reference))
        if isinstance(made, str):
            graphs.append(None)
            tried.append(VariantEvidence(kind=kind, chosen=False, reason=made, metric=rows.metric))
            continue
        graph = made.SerializeToString(deterministic=True)
        graphs.append(graph)
        tried.append(_measure(kind, (reference, graph), rows, project, timer))
    best = _best(tried, project)
    chosen = [_decided(one, project, is_best=i == best) for i, one in enumerate(tried)]
    winner = None if best is None else graphs[best]
    draft = None if best is None or winner is None else _draft(bundle, tried[best], winner, rows)
    return Compressed(draft, tuple(chosen))


def _select_rows(manifest: Manifest, select: pl.DataFrame, project: Project) -> _Select:
    target, known = known_labels(select["_label"], manifest.task, manifest.classes)
    inputs = {k: v[known] for k, v in tensors(select, manifest.columns).items()}
    default: Metric = "rmse" if manifest.task == "regression" else "log_loss"
    wanted = project.gate.metric or default
    if wanted == "auc" and len(np.unique(target[known])) == 1:
        wanted = default
    return _Select(manifest, wanted, inputs, target[known])


def _measure(
    kind: str, graphs: tuple[bytes, bytes], rows: _Select, project: Project, timer: Timer
) -> VariantEvidence:
    sessions = [open_session(graph, threads=project.serve.threads) for graph in graphs]
    answers = [rows.run(session) for session in sessions]
    latencies = {size: _latencies(sessions, rows, size, timer) for size in _BATCH_ROWS}
    reference, variant = (
        Measured(
            score=metric(rows.metric, rows.target, answers[i]),
            latency_ms={size: found[i] for size, found in latencies.items()},
            size_bytes=len(graphs[i]),
        )
        for i in (0, 1)
    )
    agreement = _agreement(rows.manifest.task, *answers)
    return weigh(kind, rows.metric, reference, variant, agreement=agreement)


def _latencies(
    sessions: list[onnxruntime.InferenceSession], rows: _Select, size: int, timer: Timer
) -> list[float]:
    """Time both sessions in turn, so that what else the machine does falls on both alike."""
    size = min(size, len(rows.target))
    spent: list[list[float]] = [[] for _ in sessions]
    for _ in range(_ROUNDS):
        for times, session in zip(spent, sessions, strict=True):
            start = timer()
            rows.run(session, size)
            times.append((timer() - start) * 1e3)
    return [float(np.median(times)) for times in spent]


def _agreement(task: Task, reference: Rows, variant: Rows) -> float:
    if task == "regression":
        spread = float(np.var(reference, dtype=np.float64))
        lost = float(np.mean((reference - variant) ** 2, dtype=np.float64))
        return 1.0 - lost / spread if spread else float(lost == 0)
    if task == "binary":
        return float(np.mean((reference > 0.5) == (variant > 0.5)))  # noqa: PLR2004 - the likelier
    return float(np.mean(reference.argmax(axis=1) == variant.argmax(axis=1)))


def _best(tried: list[VariantEvidence], project: Project) -> int | None:
    fit = [
        i
        for i, one in enumerate(tried)
        if one.variant is not None and not objection(one, project.compress)
    ]
    return max(fit, key=lambda i: tried[i].speedup, default=None)


def _decided(found: VariantEvidence, project: Project, *, is_best: bool) -> VariantEvidence:
    if found.variant is None:
        return found
    spec = project.compress
    reason = objection(found, spec) or (
        f"{found.speedup:.2f} times as fast, {found.metric} {found.loss:+.4f} worse"
        if is_best
        else "another variant is faster"
    )
    return found.model_copy(update={"chosen": is_best, "reason": reason})


def _draft(bundle: Bundle, found: VariantEvidence, graph: bytes, rows: _Select) -> Draft:
    answer = rows.run(open_session(graph))
    names = [
        name
        for name in task_metrics(rows.manifest.task)
        if name != "auc" or len(np.unique(rows.target)) > 1
    ]
    # What was measured of the model as it was trained is not true of the variant.
    scores = {f"select.{name}": metric(name, rows.target, answer) for name in names}
    manifest = bundle.manifest.model_copy(
        update={"variant": found.kind, "parents": (bundle.digest,), "metrics": scores}
    )
    return Draft(manifest=manifest, files=dict(bundle.files) | {MODEL: graph})
