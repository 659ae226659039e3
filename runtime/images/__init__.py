"""Pixels, image files, and sheets of several images."""
