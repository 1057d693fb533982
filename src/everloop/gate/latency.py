"""How long a model takes for one row."""

import time
from collections.abc import Callable
from statistics import median

import polars as pl

from everloop.frameworks.onnx_runtime import Scorer
from everloop.rows.vectorised import tensors
from everloop.store.bundles import Bundle

_NUM_ROWS, _NUM_WARM, _NUM_TIMED = 3, 5, 50


def latency_ms(
    bundle: Bundle, rows: pl.DataFrame, *, clock_s: Callable[[], float] = time.perf_counter
) -> float:
    """Return the median time of a model call with one row, in milliseconds.

    Args:
        bundle: The model.
        rows: At least one; the first few take turns.
        clock_s: Seconds that only go forward.
    """
    scorer = Scorer(bundle)
    columns, num_rows = bundle.manifest.columns, min(rows.height, _NUM_ROWS)
    singles = [tensors(rows.slice(i, 1), columns) for i in range(num_rows)]
    for i in range(_NUM_WARM):
        scorer.run(singles[i % len(singles)])
    found = []
    for i in range(_NUM_TIMED):
        start_s = clock_s()
        scorer.run(singles[i % len(singles)])
        found.append((clock_s() - start_s) * 1000)
    return median(found)
