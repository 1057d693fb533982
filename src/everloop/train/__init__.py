"""Clean rows in, model and manifest out."""
