"""Scores a whole frame with a bundle's own graph, a batch at a time."""

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from everloop.frameworks.onnx_runtime import Scorer
from everloop.rows.vectorised import tensors
from everloop.store.bundles import Bundle


def score_frame(
    bundle: Bundle, frame: pl.DataFrame, *, threads: int = 1, batch_rows: int = 65_536
) -> npt.NDArray[Any]:
    """Score rows as a replica would.

    Args:
        bundle: The model.
        frame: Rows with the model's columns; others are left alone.
        threads: Of one model call.
        batch_rows: Rows of one model call; bounds memory.

    Returns:
        ``probability`` or ``prediction``, shape (N,), or ``probabilities``, shape (N, K), float32.

    Raises:
        DataError: If a column is missing or a value cannot be read as its kind.
    """
    scorer = Scorer(bundle, threads=threads)
    columns = bundle.manifest.columns
    # An empty frame still makes one, empty, batch, which has the right shape.
    found = [
        scorer.run(tensors(frame.slice(start, batch_rows), columns))
        for start in range(0, max(frame.height, 1), batch_rows)
    ]
    return np.concatenate(found)
