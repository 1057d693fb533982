"""Logged predictions and late labels in, live metrics out."""

from everloop.monitor.compare import compare_versions
from everloop.monitor.live import LiveJob, LiveMetric, live_metrics, newest_metrics, skill

__all__ = [
    "LiveJob",
    "LiveMetric",
    "compare_versions",
    "live_metrics",
    "newest_metrics",
    "skill",
]
