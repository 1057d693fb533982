"""Metrics, intervals, profiles and calibration: what several stages measure with."""
