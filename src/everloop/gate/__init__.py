"""Two bundles and the newest labelled rows in, evidence and objections out."""

from everloop.gate.evidence import Evidence, SliceEvidence, measure_gate
from everloop.gate.judgement import objections, summary

__all__ = ["Evidence", "SliceEvidence", "measure_gate", "objections", "summary"]
