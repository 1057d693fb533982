"""Logged predictions and late labels in, live metrics out."""
