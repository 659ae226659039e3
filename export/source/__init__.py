"""What an export starts from: our checkpoints, and other people's weights."""
