"""One exporter for each file format."""
