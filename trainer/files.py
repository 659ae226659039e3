"""Writing a file whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from trainer.errors import OutputError


def write_atomically(path: Path, content: bytes) -> None:
    """Put `content` at `path`, on the disk before this returns; a reader sees the old file or the new, never a part.

    Raises OutputError, naming `path`, where the operating system refuses; what `path` held before then stays.
    """
    with replacing(path) as file:
        file.write(content)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file to write to, which takes the place of `path` when the block ends well; otherwise as above."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # never made, or already in its place
            temporary.unlink()


def remove_unfinished(path: Path) -> None:
    """Remove what a process that was killed while writing `path` has left beside it."""
    for leftover in path.parent.glob(f".{path.name}.*.part"):
        leftover.unlink(missing_ok=True)
