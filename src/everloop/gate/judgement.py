"""The gate's judgement: each objection names the setting that decided; none means promote."""

from collections.abc import Iterable

from everloop.gate.evidence import Evidence
from everloop.measure.intervals import Interval
from everloop.measure.metrics import is_higher_better
from everloop.spec.project import GateSpec


def objections(evidence: Evidence, spec: GateSpec) -> list[str]:
    """Say what speaks against the challenger.

    A first model, without a champion to beat, must surely beat the constant that fits the gate rows
    best.

    Returns:
        Sentences for people; an empty list means promote.
    """
    return [
        *evidence.problems,
        *_rows(evidence, spec),
        *_floor(evidence, spec),
        *_gain(evidence, spec),
        *_slices(evidence, spec),
        *_cost(evidence, spec),
    ]


def summary(evidence: Evidence) -> tuple[str, ...]:
    """Say in a few sentences what speaks for the challenger."""
    name = evidence.metric
    found = []
    if name in evidence.scores:
        found.append(f"{name} {evidence.scores[name]:.4f} on {evidence.num_rows} rows")
    if evidence.gain is not None:
        found.append(f"{name} gain over the champion {_text(evidence.gain)}")
    elif evidence.gain_over_constant is not None:
        found.append(f"{name} gain over a constant predictor {_text(evidence.gain_over_constant)}")
    if evidence.note:
        found.append(evidence.note)
    return tuple(found)


def _rows(evidence: Evidence, spec: GateSpec) -> Iterable[str]:
    if evidence.num_rows < spec.min_rows:
        yield f"{evidence.num_rows} gate rows are fewer than gate.min_rows {spec.min_rows}"


def _floor(evidence: Evidence, spec: GateSpec) -> Iterable[str]:
    score = evidence.scores.get(evidence.metric)
    if spec.floor is not None and score is not None and _is_worse(evidence, score, spec.floor):
        yield f"{evidence.metric} {score:.4f} is worse than gate.floor {spec.floor:g}"


def _gain(evidence: Evidence, spec: GateSpec) -> Iterable[str]:
    name, gain, over_constant = evidence.metric, evidence.gain, evidence.gain_over_constant
    if gain is not None:
        yield from _over_champion(name, gain, spec)
    elif over_constant is not None and over_constant.low <= 0:
        yield (
            f"{name} gain over a constant predictor {_text(over_constant)}: a first model must "
            f"beat it at gate.confidence {spec.confidence:g}"
        )


def _over_champion(name: str, gain: Interval, spec: GateSpec) -> Iterable[str]:
    found = f"{name} gain over the champion {_text(gain)}"
    if spec.rule == "better" and gain.low < spec.min_gain:
        yield (
            f"{found}: its lower end is under gate.min_gain {spec.min_gain:+.4f} at "
            f"gate.confidence {spec.confidence:g}"
        )
    if spec.rule == "not_worse" and gain.estimate < spec.min_gain:
        yield f"{found} is under gate.min_gain {spec.min_gain:+.4f}"
    if spec.rule == "not_worse" and gain.high < 0:
        yield (
            f"{found}: worse at gate.confidence {spec.confidence:g}, and gate.rule is 'not_worse'"
        )


def _slices(evidence: Evidence, spec: GateSpec) -> Iterable[str]:
    if spec.slice_floor is None:
        return
    for part in evidence.slices:
        if _is_worse(evidence, part.challenger, spec.slice_floor):
            yield (
                f"{evidence.metric} {part.challenger:.4f} where {part.column} is {part.value!r} "
                f"({part.num_rows} rows) is worse than gate.slice_floor {spec.slice_floor:g}"
            )


def _cost(evidence: Evidence, spec: GateSpec) -> Iterable[str]:
    latency_ms, size_mb = evidence.latency_ms, evidence.size_mb
    if latency_ms is not None and latency_ms > spec.max_latency_ms:
        yield f"{latency_ms:.3g} ms a row is over gate.max_latency_ms {spec.max_latency_ms:g}"
    if size_mb > spec.max_size_mb:
        yield f"{size_mb:.3g} MB is over gate.max_size_mb {spec.max_size_mb:g}"


def _is_worse(evidence: Evidence, score: float, floor: float) -> bool:
    return score < floor if is_higher_better(evidence.metric) else score > floor


def _text(gain: Interval) -> str:
    return f"{gain.estimate:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
