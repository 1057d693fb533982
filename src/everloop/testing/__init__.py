"""Builders and fakes that tests, also a user's own, may import."""
