"""Memory that torch frees is kept for its next operation, unless the user has set how much."""

import platform
import subprocess
import sys

import pytest

from trainer.memory import keep_freed_memory

MEGABYTES = 20
PROGRAM = f"""
import ctypes
from trainer.memory import keep_freed_memory
{{0}}
class Statistics(ctypes.Structure):  # mallinfo of malloc.h
    _fields_ = [(f"field{{{{i}}}}", ctypes.c_int) for i in range(9)] + [("free_at_the_top", ctypes.c_int)]
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes, libc.mallinfo.restype = ctypes.c_void_p, [ctypes.c_void_p], Statistics
blocks = (ctypes.c_void_p * (10 * {MEGABYTES}))()
for i in range(len(blocks)):
    blocks[i] = libc.malloc(100_000)
for block in blocks:
    libc.free(block)
print(libc.mallinfo().free_at_the_top)
"""


def kept_megabytes(preparation: str) -> float:
    """Of blocks of 100 kB, which are allocated and freed."""
    command = [sys.executable, "-c", PROGRAM.format(preparation)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) / 1e6


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not the C library of GNU")
def test_freed_memory_stays_with_the_process() -> None:
    assert kept_megabytes("") < MEGABYTES / 10
    assert kept_megabytes("assert keep_freed_memory()") > MEGABYTES * 0.9


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"])
def test_a_users_own_setting_wins(name: str) -> None:
    assert not keep_freed_memory({name: "1"})
