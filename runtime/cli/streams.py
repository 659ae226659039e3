"""Standard streams that are closed, or that nobody can write to any more."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path


def open_closed_streams() -> bool:
    """Open the null device in place of standard streams that are closed. Returns whether stdout was open.

    Otherwise the first file that is opened gets their number, and whatever writes to stderr writes into that file.
    """
    stdout_was_open = sys.stdout is not None
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 (open to the end)
    return stdout_was_open


def give_up_stdout() -> None:
    """Drop what is still to be written to stdout, which is full or gone: Python would fail on it at its exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
