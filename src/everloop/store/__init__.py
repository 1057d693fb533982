"""Objects, tables, logs and bundles: written whole or not at all, found by digest."""
