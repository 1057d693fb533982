"""Reference profile and current profile in, drift report out."""

from everloop.drift.report import ColumnDrift, DriftReport, measure_drift

__all__ = ["ColumnDrift", "DriftReport", "measure_drift"]
