"""A file of `torch.save`, looked at before torch takes memory for it."""

from __future__ import annotations

import zipfile
from pathlib import Path

from runtime.files.atomic import open_regular
from trainer.errors import CheckpointError


def check_torch_file(path: Path) -> None:
    """Raise CheckpointError where `path` is no regular file, or unpacks to more than it holds.

    torch stores tensors as they are, so a file that would grow when it is read was not written by it. Files of the old
    format, which are no archives, cannot grow.
    """
    try:
        with open_regular(path) as file:
            if not zipfile.is_zipfile(file):
                return
            size = file.seek(0, 2)
            with zipfile.ZipFile(file) as archive:
                unpacked = sum(member.file_size for member in archive.infolist())
    except (FileNotFoundError, IsADirectoryError):
        return  # whoever reads it has better words
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return  # torch will say so
    if unpacked > size:
        raise CheckpointError(
            f"{path}: would unpack from {size:,} to {unpacked:,} bytes, which no checkpoint does; do not trust it"
        )
