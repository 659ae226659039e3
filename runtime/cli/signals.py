"""SIGTERM and SIGHUP end a command as Ctrl-C does, so that it can clean up and say what is kept."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_NAMES = ("SIGTERM", "SIGHUP")
_GRACE_S = 3.0
"""A process that has not got as far as cleaning up by then is in a long call of an engine, and is ended at once."""


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP raise KeyboardInterrupt; the same signal a second time ends the process at once.

    An ignored signal (nohup) stays ignored. Under torchrun the signals keep their meaning: it sends SIGTERM to end the
    other ranks, which wait in a collective operation and could not clean up.
    """
    if threading.current_thread() is not threading.main_thread() or "TORCHELASTIC_RUN_ID" in os.environ:
        yield  # signals belong to the main thread
        return

    reached = threading.Event()

    def interrupt(number: int, frame: FrameType | None) -> None:
        reached.set()
        signal.signal(number, signal.SIG_DFL)
        raise KeyboardInterrupt

    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    chosen = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    for number in chosen:
        signal.signal(number, interrupt)
    stop = _watch(chosen, reached)
    try:
        yield
    finally:
        stop()
        for number in chosen:
            signal.signal(number, before[number])


def _watch(numbers: list[int], reached: threading.Event) -> Callable[[], None]:
    """End the process where a signal has come and Python does not get to run `interrupt`. Returns what stops watching.

    Python hears of a signal between two of its own instructions, and an engine may compute for long. The operating
    system writes the number of each signal to a socket, from which a thread reads.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)

    def watch() -> None:
        with reader:
            while received := reader.recv(1):
                if received[0] in numbers and not reached.wait(_GRACE_S):
                    os._exit(128 + received[0])

    thread = threading.Thread(target=watch, daemon=True, name="signals")
    thread.start()

    def stop() -> None:
        signal.set_wakeup_fd(before)
        reached.set()
        writer.close()  # which ends the thread
        thread.join()

    return stop
