"""Sources in, raw tables out, each row exactly once."""
