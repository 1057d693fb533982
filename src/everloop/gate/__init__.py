"""Two bundles and the newest labelled rows in, evidence and objections out."""
