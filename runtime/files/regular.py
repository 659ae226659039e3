"""Reading files that others may have put there: regular files alone, and no more of one than is expected."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path

_MOST_TEXT = 2**20  # bytes


def follow(path: Path) -> Path:
    """Where `path` leads once links are followed: as far as they do where they lead in a circle.

    `Path.resolve` raises RuntimeError there, which nobody expects of a path.
    """
    return Path(os.path.realpath(path))


def open_regular(path: Path) -> io.BufferedReader:
    """Open a regular file for reading. Raises OSError for anything else: a pipe or a device might never end."""
    # A pipe without a writer would block already here.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, "is a folder", str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "is no regular file", str(path))
    except BaseException:
        os.close(descriptor)
        raise
    return io.BufferedReader(io.FileIO(descriptor, "rb"))


def read_start(path: Path, most: int) -> bytes:
    """The first `most` bytes of a regular file, or all where it has fewer. Raises OSError."""
    with open_regular(path) as file:
        return file.read(most)


def read_small(path: Path, most: int) -> bytes:
    """The content of a regular file of at most `most` bytes. Raises OSError, also where it is larger."""
    content = read_start(path, most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"is larger than {most:,} bytes", str(path))
    return content


def read_text(path: Path) -> str:
    """UTF-8 text of a small file. Raises OSError unless it is a regular one of up to 1 MiB, or UnicodeDecodeError."""
    return read_small(path, _MOST_TEXT).decode("utf-8")
