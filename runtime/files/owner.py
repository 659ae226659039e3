"""Locks on outputs: whatever is written over time belongs to one process until that process ends, however it ends.

A lock is an `flock` on a small hidden file that names its holder. The kernel releases it with the process, so no kill
leaves a lock behind; the file itself may stay, and the next holder takes it over and removes it. Whoever holds the lock
may also clear away what a killed process left of the same output.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from runtime.errors import OutputError
from runtime.files.regular import follow

_PART = re.compile(r"\.(\d+)-(\d+)\.lock")
_PATIENCE_S = 5.0  # for locks that are held for a moment only
_UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


def lock_beside(path: Path) -> Path:
    """The lock of an output that is moved into place, or replaced, as a whole: `.NAME.lock` beside it.

    Raises OutputError for the root of the file system, beside which there is nothing.
    """
    place = path if path.name else follow(path)  # "." has no name of its own
    if not place.name:
        raise OutputError(f"{path}: is the root of the file system; choose another place")
    return place.with_name(f".{place.name}.lock")


def lock_inside(folder: Path) -> Path:
    """The lock of a folder that is filled where it is."""
    return folder / ".lock"


@contextmanager
def owning(output: Path, lock: Path) -> Iterator[None]:
    """Reserve `output` for this process while the block runs.

    lock: the hidden file that stands for it; its folder is made where it is missing. Raises OutputError, naming the
    holder, where another process (or another call in this one) has reserved `output`. Where the system or the disk
    knows no such locks (Windows, some network disks), nothing is reserved.
    """

    def acquire() -> int | None:
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            return _acquire(lock)
        except _HeldError as held:
            raise OutputError(
                f"{output}: {held} is writing it; let that one end, or choose another place for this one"
            ) from None

    with _held(output, lock, acquire):
        yield


@contextmanager
def owning_part(folder: Path, first: int, num: int, claim: Callable[[], None]) -> Iterator[None]:
    """Reserve the parts `first` … `first + num - 1` of a folder that several processes fill together.

    claim: called once they are reserved and before the block, in one process at a time. Raises OutputError, naming the
    holder, where another process has reserved any of these parts.
    """
    lock = folder / f".{first}-{first + num - 1}.lock"
    with ExitStack() as stack:
        with owning_for_a_moment(folder, lock_inside(folder)):
            for path in folder.glob(".*-*.lock"):
                match = _PART.fullmatch(path.name)
                if match and path != lock and int(match[1]) < first + num and int(match[2]) >= first:
                    with owning(folder, path):  # raises where it is held; otherwise a kill left it, and it is removed
                        pass
            stack.enter_context(owning(folder, lock))
            claim()
        yield


@contextmanager
def owning_for_a_moment(output: Path, lock: Path) -> Iterator[None]:
    """As `owning`, but waits: for what everybody does in a moment and one at a time."""

    def acquire() -> int | None:
        end = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return _acquire(lock)
            except _HeldError as held:
                if time.monotonic() > end:
                    raise OutputError(f"{output}: {held} has kept it locked for {_PATIENCE_S:g} s") from None
                time.sleep(0.01)

    with _held(output, lock, acquire):
        yield


@contextmanager
def _held(output: Path, lock: Path, acquire: Callable[[], int | None]) -> Iterator[None]:
    """The lock that `acquire` has got, until the block ends."""
    try:
        descriptor = acquire()
    except OSError as error:
        raise OutputError(f"cannot write {output}: {error.strerror or error}") from error
    try:
        yield
    finally:
        _release(lock, descriptor)


class _HeldError(Exception):
    """Another process has the lock; the text says which."""


def _acquire(lock: Path) -> int | None:
    """The descriptor of the lock file, held; None where there are no such locks."""
    if sys.platform == "win32":
        return None
    import fcntl

    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise _HeldError(holder) from None
        except OSError as error:
            os.close(descriptor)
            if error.errno in _UNSUPPORTED:
                with suppress(OSError):
                    lock.unlink()
                return None
            raise
        if _is_still(lock, descriptor):
            break
        os.close(descriptor)  # its last holder has removed the file meanwhile
    with suppress(OSError):  # a full disk keeps the name of the holder, not the lock, from being written
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)
    return descriptor


def _release(lock: Path, descriptor: int | None) -> None:
    if descriptor is None:
        return
    with suppress(OSError):  # removed with its folder, or the disk has gone: closing the file releases it all the same
        if _is_still(lock, descriptor):
            lock.unlink()
    os.close(descriptor)


def _is_still(lock: Path, descriptor: int) -> bool:
    """Whether the open file is the one that has this name now."""
    try:
        named = lock.lstat()
    except FileNotFoundError:
        return False
    held = os.fstat(descriptor)
    return (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)


def _holder(descriptor: int) -> str:
    """Who has the lock, as the file says."""
    match = re.fullmatch(rb"(\d{1,10}) ([\w.-]{1,100})\n", os.pread(descriptor, 200, 0))
    if match is None:
        return "another process"
    where = "" if match[2].decode() == socket.gethostname() else f" on {match[2].decode()}"
    return f"another process (pid {int(match[1])}{where})"
