"""Writing files so that nothing is ever left half-written."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from runtime.errors import OutputError

_SUFFIX_BYTES = 4  # random, in the name of a temporary file
_RANDOM = "[0-9a-f]" * 2 * _SUFFIX_BYTES


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a new, empty file beside `path`; when the block ends well, what was written there becomes `path`.

    Where the block raises, the new file is removed and what `path` held before stays. Missing parent folders are made.
    Raises OutputError, naming `path`, where the operating system refuses.
    """
    temporary = path.with_name(f".{path.stem}.{os.urandom(_SUFFIX_BYTES).hex()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
        yield temporary
        flush_to_disk(temporary)
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # never made, or already in its place
            temporary.unlink()


def write_atomically(path: Path, content: bytes) -> None:
    """Put `content` at `path`, flushed to disk: a reader sees the old file or the new one, never a part.

    Raises OutputError, naming `path`, where the operating system refuses; what `path` held before then stays.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def remove_unfinished(path: Path) -> None:
    """Remove the temporary files that a process killed inside `replacing(path)` has left beside it."""
    import glob  # here, like zipfile elsewhere: one image from a fresh process is a matter of milliseconds

    stem, suffix = glob.escape(path.stem), glob.escape(path.suffix)
    for leftover in path.parent.glob(f".{stem}.{_RANDOM}{suffix}"):
        leftover.unlink(missing_ok=True)


def remove_unfinished_in(folder: Path) -> None:
    """Remove all temporary files that processes killed inside `replacing` have left in `folder`, if there is one."""
    for leftover in folder.glob(f".*.{_RANDOM}.*"):
        leftover.unlink(missing_ok=True)


def flush_to_disk(path: Path) -> None:
    """Wait until what was written to `path` would survive a power cut."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
