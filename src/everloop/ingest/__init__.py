"""Sources in, raw tables out, each row exactly once."""

from everloop.ingest.plans import Plan, read_plan
from everloop.ingest.stage import SOURCES, IngestReport, ingest

__all__ = ["SOURCES", "IngestReport", "Plan", "ingest", "read_plan"]
