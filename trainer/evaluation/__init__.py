"""Honest evaluation: what `vae-evaluate` measures, one measurement a file."""
