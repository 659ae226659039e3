"""The measurements of `vae-evaluate`, one per file."""
