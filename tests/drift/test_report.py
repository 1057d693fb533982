import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.drift import DriftReport, measure_drift
from everloop.measure.profile import make_profile, profile_like
from everloop.spec.project import MonitorSpec

SPEC = MonitorSpec()


def rows(num_rows: int, seed: int, *, shift: float = 0.0, carrier: str = "DL") -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "calm": rng.normal(size=num_rows),
            "wind": rng.normal(size=num_rows) + shift,
            "carrier": rng.choice(["AA", "B6", carrier], num_rows),
        }
    )


def report(current: pl.DataFrame, spec: MonitorSpec = SPEC) -> DriftReport:
    reference = make_profile(rows(20_000, 0), bins=spec.bins)
    return measure_drift(reference, profile_like(current, reference), spec)


def test_rows_that_did_not_change_have_not_drifted() -> None:
    found = report(rows(200, 1))
    assert found.drift_share == 0
    assert found.note == ""
    assert all(column.psi < 0.1 for column in found.columns)


def test_a_shifted_column_comes_first() -> None:
    found = report(rows(1000, 1, shift=1.0))
    assert found.drifted == ("wind",)
    assert found.columns[0].name == "wind"
    assert found.drift_share == pytest.approx(1 / 3)


def test_a_new_category_is_drift_and_its_share_is_told() -> None:
    found = report(rows(1000, 1, carrier="ZZ")).columns[0]
    assert (found.name, found.is_drifted) == ("carrier", True)
    assert found.unseen_ratio == pytest.approx(1 / 3, abs=0.05)


def test_numbers_past_the_reference_are_unseen() -> None:
    found = report(rows(1000, 1, shift=100.0)).columns[0]
    assert (found.name, found.unseen_ratio) == ("wind", 1.0)


def test_a_column_that_turns_null_has_drifted() -> None:
    current = rows(1000, 1).with_columns(wind=pl.lit(None, pl.Float64))
    found = report(current).columns[0]
    assert (found.name, found.is_drifted, found.null_ratio_change) == ("wind", True, 1.0)


def test_too_few_rows_say_so_and_name_the_setting() -> None:
    found = report(rows(10, 1, shift=100.0))
    assert found.drift_share is None
    assert found.columns == ()
    assert "current window has 10 rows, fewer than monitor.min_rows 200" in found.note


def test_the_line_is_the_projects() -> None:
    current = rows(1000, 1, shift=0.3)
    assert report(current).drifted == ()
    assert report(current, MonitorSpec(psi=0.02)).drifted == ("wind",)


def test_a_profile_on_other_bins_is_refused() -> None:
    reference = make_profile(rows(1000, 0), bins=10)
    with pytest.raises(ValueError, match="make it with profile_like"):
        measure_drift(reference, make_profile(rows(1000, 1), bins=10), SPEC)


def test_a_report_survives_json() -> None:
    found = report(rows(1000, 1, shift=1.0))
    assert DriftReport.model_validate_json(found.model_dump_json()) == found


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(-10, 10)), min_size=1, max_size=30))
def test_rows_have_not_drifted_from_themselves(values: list[float | None]) -> None:
    frame = pl.DataFrame({"x": values}, schema={"x": pl.Float64})
    reference = make_profile(frame, bins=4)
    found = measure_drift(reference, profile_like(frame, reference), MonitorSpec(min_rows=1))
    assert found.columns[0].psi == 0
    assert found.columns[0].unseen_ratio == 0
