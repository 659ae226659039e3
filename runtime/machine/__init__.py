"""This machine: its processor, the processors that this process may use, and its memory."""
