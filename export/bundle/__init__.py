"""The bundle: building it, what travels in it, and publishing it."""
