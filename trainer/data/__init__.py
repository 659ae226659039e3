"""Data sets: what they are, and a reader for each kind of source."""
