"""What can be exported: checkpoints of `vae-train`, and state dicts of other projects."""
