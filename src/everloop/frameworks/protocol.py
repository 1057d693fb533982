"""What a family of models takes and gives.

Letters of shapes: N rows, K classes, C codes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnx

from everloop.rows.vectorised import Encoded
from everloop.spec.manifest import Task
from everloop.spec.progress import Progress, no_progress
from everloop.spec.project import TrainSpec

Raw = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Examples:
    """Encoded rows and what is to be said of them.

    Attributes:
        encoded: The rows.
        target: float64 values for regression, else int64 class codes; shape (N,).
    """

    encoded: Encoded
    target: npt.NDArray[Any]

    def __len__(self) -> int:
        return len(self.target)


@dataclass(frozen=True, kw_only=True)
class FitJob:
    """One fit.

    Attributes:
        task: Decides the loss.
        num_classes: 2 for binary, 0 for regression.
        number_names: Of the encoded numbers.
        code_sizes: How many codes each category has, shape (C,).
        spec: Settings of the training, the family's own among them.
        work: A directory of this fit alone: a killed fit with the same data and settings goes on
            from the checkpoint in it.
        progress: Told about trees or epochs.
    """

    task: Task
    num_classes: int
    number_names: tuple[str, ...]
    code_sizes: tuple[int, ...]
    spec: TrainSpec
    work: Path
    progress: Progress = no_progress


class Fitted(Protocol):
    """A fitted model."""

    def raw(self, encoded: Encoded) -> Raw:
        """Return logits (N,) for binary, logits (N, K) for multiclass, values (N,)."""

    def core(self) -> onnx.ModelProto:
        """Return the graph from ``numbers`` and ``codes``, those that exist, to ``raw``."""

    @property
    def parity(self) -> float:
        """How far the graph may be from `raw`, for an output of about 1."""


class Family(Protocol):
    """A way to fit models."""

    def fit(self, fit: Examples, tune: Examples, job: FitJob) -> Fitted:
        """Fit to ``fit``, and stop when ``tune`` gains no more."""
