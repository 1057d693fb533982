"""Reference profile and current profile in, drift report out."""
