"""Serving: a route and requests become predictions and a spool; `ship` brings the spool to tables.

The replica is the hot path and imports neither polars nor deltalake; only `everloop.serve.ship`
does. `everloop.serve.replica` starts one, `python -m everloop.serve` is its process.
"""
