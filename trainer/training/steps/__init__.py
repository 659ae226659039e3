"""The training step: one way for every model, and faster ways for common ones."""
