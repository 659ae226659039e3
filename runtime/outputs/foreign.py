"""Files that are there already: what our commands wrote may be replaced, what somebody else did may not."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from runtime.errors import OutputError
from runtime.files.atomic import remove_unfinished
from runtime.files.owner import lock_beside, owning
from runtime.files.regular import open_regular, read_start
from runtime.manifest import METADATA_KEY

_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_NOTE_WITHIN = 4096  # bytes of the start of a picture; the note comes before the pixels


@contextmanager
def replacing_ours(path: Path, is_ours: Callable[[Path], bool], command: str, *, force: bool) -> Iterator[None]:
    """Reserve `path` for the block, once it is known that there is no file of somebody else; see `require_ours`.

    Also removes what a killed process left of it. Raises OutputError where another process is writing it.
    """
    with owning(path, lock_beside(path)):
        remove_unfinished(path)
        require_ours(path, ours=is_ours(path), force=force, command=command)
        yield


@contextmanager
def replacing_ours_in(
    folder: Path, names: Sequence[str], is_ours: Callable[[Path], bool], command: str, *, force: bool
) -> Iterator[None]:
    """As `replacing_ours`, for several files in a folder. They are ours where the first one of `names` is.

    Also raises OutputError where something else than a folder is there.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise OutputError(f"{folder}: is there already and is no folder; choose another place")
    with owning(folder, lock_beside(folder)):
        ours = is_ours(folder / names[0])
        for name in names:
            remove_unfinished(folder / name)
            require_ours(folder / name, ours=ours, force=force, command=command)
        yield


def require_ours(path: Path, *, ours: bool, force: bool, command: str) -> None:
    """Raise OutputError where `path` exists and is neither `ours` nor to be replaced by `force`."""
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; choose another place")
    if not (ours or force) and os.path.lexists(path):  # also a link to what is not there yet
        raise OutputError(f"{path}: is there already, and {command} did not write it; choose another place, or --force")


def is_archive_of(path: Path, names: Sequence[str]) -> bool:
    """Whether the file at `path` is a `.npz` that begins with the arrays `names`, in this order."""
    import zipfile

    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            return archive.namelist()[: len(names)] == [f"{name}.npy" for name in names]
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return False


def is_our_picture(path: Path) -> bool:
    """Whether the file at `path` is a PNG that notes what drew it."""
    try:
        start = read_start(path, _PNG_NOTE_WITHIN)
    except OSError:
        return False
    return start.startswith(_PNG_START) and METADATA_KEY.encode() in start
