"""How much memory this process has needed."""

import sys


def peak_memory_mb() -> float | None:
    """The largest resident size so far, in MB of 2**20 bytes; None where the operating system does not say."""
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
