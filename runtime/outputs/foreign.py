"""Files that are there already: what vae-sample wrote may be replaced, what somebody else did may not."""

from __future__ import annotations

import zipfile
from pathlib import Path

from runtime.errors import OutputError
from runtime.manifest import METADATA_KEY

_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_NOTE_WITHIN = 4096  # bytes of the start of a picture; the note comes before the pixels
_ARCHIVE_NAMES = ["images.npy", "latents.npy", "indices.npy"]  # which `labels.npy` may follow


def require_ours(path: Path, *, ours: bool, force: bool) -> None:
    """Raise OutputError where `path` exists and is neither `ours` nor to be replaced by `force`."""
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; choose another --output")
    if not (ours or force) and path.exists():
        raise OutputError(
            f"{path}: is there already, and vae-sample did not write it; choose another --output, or --force"
        )


def is_our_archive(path: Path) -> bool:
    """Whether the file at `path` is a `.npz` of vae-sample."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()[: len(_ARCHIVE_NAMES)] == _ARCHIVE_NAMES
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return False


def is_our_picture(path: Path) -> bool:
    """Whether the file at `path` is a PNG that notes which job drew it."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(_PNG_NOTE_WITHIN)
    return start.startswith(_PNG_START) and METADATA_KEY.encode() in start
