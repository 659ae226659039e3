"""Proof that a graph computes what the model computes."""
