"""A small network's fit, also run as a process of its own that is killed.

usage: network_job.py WORK KILL_AFTER_EPOCHS
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np

from everloop.frameworks.network import FittedNetwork, Network
from everloop.frameworks.protocol import Examples, FitJob
from everloop.rows.vectorised import Encoded
from everloop.spec.manifest import Task
from everloop.spec.progress import Progress, no_progress
from everloop.spec.project import NetworkSpec, TrainSpec

SIZES = (6, 20)


def rows(num_rows: int, seed: int, *, num_numbers: int = 3, num_codes: int = 2) -> Encoded:
    rng = np.random.default_rng(seed)
    codes = np.stack([rng.integers(0, n, num_rows) for n in SIZES], axis=1)
    return Encoded(
        rng.normal(size=(num_rows, num_numbers)).astype(np.float32), codes[:, :num_codes]
    )


def examples(encoded: Encoded, task: Task) -> Examples:
    score = np.zeros(len(encoded))
    if encoded.numbers.shape[1]:
        score = score + encoded.numbers[:, 0]
    if encoded.codes.shape[1]:
        score = score + np.sin(encoded.codes[:, 0])
    if task == "regression":
        return Examples(encoded, score * 50 + 1000)
    edges = [0.0] if task == "binary" else [-0.5, 0.5]
    return Examples(encoded, np.digitize(score, edges).astype(np.int64))


def fit(
    work: Path,
    task: Task = "binary",
    *,
    num_numbers: int = 3,
    num_codes: int = 2,
    progress: Progress = no_progress,
    **spec: Any,
) -> FittedNetwork:
    shape = {"num_numbers": num_numbers, "num_codes": num_codes}
    job = FitJob(
        task=task,
        num_classes={"binary": 2, "multiclass": 3, "regression": 0}[task],
        number_names=("a", "b", "c")[:num_numbers],
        code_sizes=SIZES[:num_codes],
        spec=TrainSpec(
            model="network",
            network=NetworkSpec(**{"width": 16, "epochs": 6, "batch_rows": 64, **spec}),
        ),
        work=work,
        progress=progress,
    )
    return Network().fit(
        examples(rows(700, 1, **shape), task), examples(rows(300, 2, **shape), task), job
    )


def _main(work: str, kill_after: str) -> None:
    def progress(_what: str, done: int, _total: int | None = None) -> None:
        if done == int(kill_after):
            os.kill(os.getpid(), signal.SIGKILL)

    fit(Path(work), progress=progress)


if __name__ == "__main__":
    _main(*sys.argv[1:])
