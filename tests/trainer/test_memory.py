"""Memory that torch frees is kept for its next operation, unless the user has set how much."""

import platform
import subprocess
import sys

import pytest

from trainer.memory import keep_freed_memory

PAGES = 10 * 400_000 // 4096  # of ten vectors
PROGRAM = """
import resource
from trainer.memory import keep_freed_memory
{0}
import torch
x = torch.zeros(100_000)
def faults():
    for _ in range(10):
        sum(torch.stack([x + i for i in range(10)]).sum(0) for _ in range(3))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
before = faults()
print((faults() - before) // 10)
"""


def pages_touched_anew(preparation: str) -> int:
    """By operations on vectors of 100,000 numbers."""
    command = [sys.executable, "-c", PROGRAM.format(preparation)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not the C library of GNU")
def test_operations_touch_no_memory_anew() -> None:
    assert pages_touched_anew("") > PAGES / 2
    assert pages_touched_anew("assert keep_freed_memory()") < PAGES / 10


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"])
def test_a_users_own_setting_wins(name: str) -> None:
    assert not keep_freed_memory({name: "1"})
