"""HTTP/1.1 for the hot path: strict parsing, limits, timeouts, answers in order. No framework."""
