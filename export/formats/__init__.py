"""Exporters, one for each file format."""
