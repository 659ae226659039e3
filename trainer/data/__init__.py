"""Data sets as arrays, and a reader for each kind of source."""
