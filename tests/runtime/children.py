"""Child processes that no test waits for without a limit."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

LIMIT_S = 120.0


def _default_sigint() -> None:
    """A shell that starts a job in the background makes it ignore Ctrl-C, and its children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def child(command: Sequence[object], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """A process that reacts to SIGINT, killed when the block ends or after LIMIT_S, so reading from it ends too."""
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
