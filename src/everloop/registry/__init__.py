"""Versions, aliases and routes: which bundle is what."""
