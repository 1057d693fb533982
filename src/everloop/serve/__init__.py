"""Requests in, predictions and spool out; spool in, tables out."""
