"""Grids of models on one data set."""
