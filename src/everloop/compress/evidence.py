"""What was measured of a variant, and what follows from it."""

from collections.abc import Mapping
from statistics import geometric_mean

from everloop.measure.metrics import is_higher_better
from everloop.spec.project import CompressSpec
from everloop.spec.record import Record
from everloop.spec.values import Metric


class Measured(Record):
    """One form of a model, measured on the select rows.

    Attributes:
        score: The metric.
        latency_ms: Median of a model call, by rows of its batch.
        size_bytes: Of the graph.
    """

    score: float
    latency_ms: dict[int, float]
    size_bytes: int


class VariantEvidence(Record):
    """What became of a variant.

    Attributes:
        kind: What was tried, such as ``int8``.
        chosen: Whether it takes the model's place.
        reason: Why, or why not; names the setting that decided.
        metric: The gate's.
        reference: The model as it was trained; None where nothing could be tried.
        variant: The variant; None where nothing could be tried.
        loss: How much worse the variant's metric is; negative where it is better.
        speedup: Geometric mean over the batch sizes of how much faster it is.
        agreement: Share of rows with the same likeliest class; for numbers the share of their
            variance that is kept.
    """

    kind: str
    chosen: bool
    reason: str
    metric: Metric
    reference: Measured | None = None
    variant: Measured | None = None
    loss: float = 0.0
    speedup: float = 0.0
    agreement: float = 0.0


def weigh(
    kind: str,
    metric: Metric,
    reference: Measured,
    variant: Measured,
    *,
    agreement: float,
) -> VariantEvidence:
    """Set a variant against the model it was made of; nothing is chosen yet."""
    sign = 1.0 if is_higher_better(metric) else -1.0
    return VariantEvidence(
        kind=kind,
        chosen=False,
        reason="",
        metric=metric,
        reference=reference,
        variant=variant,
        loss=sign * (reference.score - variant.score),
        speedup=_speedup(reference.latency_ms, variant.latency_ms),
        agreement=agreement,
    )


def objection(found: VariantEvidence, spec: CompressSpec) -> str:
    """Say why a variant is not worth it; the empty text where it is."""
    if found.loss > spec.max_loss:
        return (
            f"{found.metric} is {found.loss:.4f} worse, over compress.max_loss {spec.max_loss:.4f}"
        )
    if found.speedup < spec.min_speedup:
        return (
            f"{found.speedup:.2f} times as fast, under compress.min_speedup {spec.min_speedup:.2f}"
        )
    return ""


def _speedup(reference: Mapping[int, float], variant: Mapping[int, float]) -> float:
    return geometric_mean(reference[rows] / variant[rows] for rows in reference)
