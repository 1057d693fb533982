"""Raw table in, clean table and quarantine out; and the as-of join."""
