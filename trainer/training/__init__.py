"""Training: loop, state, resuming, and the folder of a run."""
