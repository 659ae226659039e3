"""Training: the epochs, what they change, and the folder that a run leaves behind."""
