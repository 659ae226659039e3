"""Child processes with a time limit, so that no test can hang."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

LIMIT_S = 120.0


def _default_sigint() -> None:
    """Restore the default SIGINT handler: shells start background jobs with SIGINT ignored, and children inherit it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def child(command: Sequence[object], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """Start a process that reacts to SIGINT; it is killed at the end of the block or after LIMIT_S seconds."""
    process = subprocess.Popen([str(part) for part in command], preexec_fn=_default_sigint, **options)
    timer = threading.Timer(LIMIT_S, process.kill)
    timer.start()
    try:
        yield process
    finally:
        timer.cancel()
        process.kill()
        process.wait(10)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
