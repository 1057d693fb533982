from typing import Any

import pytest

from everloop.gate import Evidence, SliceEvidence, objections, summary
from everloop.measure.intervals import Interval
from everloop.spec.project import GateSpec

SURE = Interval(estimate=0.02, low=0.01, high=0.03)
UNSURE = Interval(estimate=0.02, low=-0.01, high=0.05)


def evidence(**changes: Any) -> Evidence:
    """What a sound challenger shows."""
    found = {
        "metric": "log_loss",
        "challenger": "a" * 64,
        "champion": "b" * 64,
        "num_rows": 1000,
        "scores": {"log_loss": 0.38, "auc": 0.74},
        "champion_scores": {"log_loss": 0.40, "auc": 0.71},
        "constant_score": 0.44,
        "gain": SURE,
        "gain_over_constant": SURE,
        "latency_ms": 0.2,
        "size_mb": 1.0,
    }
    return Evidence.model_validate(found | changes)


def test_nothing_speaks_against_a_sound_challenger() -> None:
    assert objections(evidence(), GateSpec(floor=0.4)) == []


@pytest.mark.parametrize(
    ("changes", "spec", "expected"),
    [
        ({"num_rows": 99}, GateSpec(), "99 gate rows are fewer than gate.min_rows 100"),
        ({}, GateSpec(floor=0.3), "log_loss 0.3800 is worse than gate.floor 0.3"),
        (
            {"metric": "auc"},
            GateSpec(floor=0.75),
            "auc 0.7400 is worse than gate.floor 0.75",
        ),
        (
            {"gain": UNSURE},
            GateSpec(),
            (
                "log_loss gain over the champion +0.0200 [-0.0100, +0.0500]: its lower end is "
                "under gate.min_gain +0.0000 at gate.confidence 0.95"
            ),
        ),
        (
            {"gain": None, "champion": None, "gain_over_constant": UNSURE},
            GateSpec(),
            (
                "log_loss gain over a constant predictor +0.0200 [-0.0100, +0.0500]: a first model "
                "must beat it at gate.confidence 0.95"
            ),
        ),
        (
            {"latency_ms": 60.0},
            GateSpec(),
            "60 ms a row is over gate.max_latency_ms 50",
        ),
        ({"size_mb": 250.0}, GateSpec(), "250 MB is over gate.max_size_mb 200"),
        ({"problems": ("no numbers",)}, GateSpec(), "no numbers"),
    ],
)
def test_an_objection_names_the_setting_that_decided(
    changes: dict[str, Any], spec: GateSpec, expected: str
) -> None:
    assert objections(evidence(**changes), spec) == [expected]


def test_a_negative_least_gain_tolerates_a_small_loss() -> None:
    assert objections(evidence(gain=UNSURE), GateSpec(min_gain=-0.01)) == []


def test_a_poor_slice_is_named() -> None:
    part = SliceEvidence(column="origin", value="JFK", num_rows=300, challenger=0.6)
    found = objections(evidence(slices=(part,)), GateSpec(slices=("origin",), slice_floor=0.5))
    assert found == [
        "log_loss 0.6000 where origin is 'JFK' (300 rows) is worse than gate.slice_floor 0.5"
    ]
    assert objections(evidence(slices=(part,)), GateSpec(slices=("origin",))) == []


def test_every_objection_is_told_at_once() -> None:
    found = objections(evidence(num_rows=5, gain=UNSURE, size_mb=500.0), GateSpec(floor=0.1))
    assert len(found) == 4


def test_a_summary_says_what_speaks_for_the_challenger() -> None:
    assert summary(evidence()) == (
        "log_loss 0.3800 on 1000 rows",
        "log_loss gain over the champion +0.0200 [+0.0100, +0.0300]",
    )
    assert summary(evidence(gain=None, note="the champion answers another task"))[1:] == (
        "log_loss gain over a constant predictor +0.0200 [+0.0100, +0.0300]",
        "the champion answers another task",
    )
