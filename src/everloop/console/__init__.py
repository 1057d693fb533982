"""Reports and pages for the browser."""
