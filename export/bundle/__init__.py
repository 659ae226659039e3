"""A bundle: built, described, certified and published."""
