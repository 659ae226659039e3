"""Whether memory that an operation of torch frees goes back to the system before the next one asks for it."""

import ctypes
import os
import sys
from collections.abc import Mapping

_SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # as malloc.h of glibc numbers its parameters
_KEPT = 256 * 2**20  # bytes
_IN_ONE_PIECE = 32 * 2**20  # bytes, the most that glibc takes from its heap


def keep_freed_memory(environment: Mapping[str, str] = os.environ) -> bool:
    """Let glibc keep up to 256 MB of freed memory, unless the user has set its limits. Returns whether it does.

    By default it soon returns blocks of some 100 kB and more to the system, which clears each page when it is touched
    again. A step by autograd then takes 9 % longer on one core of an Intel Xeon: for 100 images with five draws 10.4
    instead of 9.5 ms, 2,600 pages for a step of preset conv.
    """
    if not sys.platform.startswith("linux") or any(name in environment for name in _SETTINGS):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library
        return False
    return bool(mallopt(_TRIM_THRESHOLD, _KEPT) and mallopt(_MMAP_THRESHOLD, _IN_ONE_PIECE))
