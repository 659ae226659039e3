"""The folder of cached results: decoded images, classifiers."""

import os
from pathlib import Path

from trainer.errors import DataError

_KEPT = ("images-*.npz", "classifier-*.pt")


def cache_folder() -> Path:
    """`$VAE_CACHE`, or else `vae-toolchain` in `$XDG_CACHE_HOME` or `~/.cache`. It can be deleted at any time."""
    if "VAE_CACHE" in os.environ:
        return Path(os.environ["VAE_CACHE"])
    parent = os.environ.get("XDG_CACHE_HOME")
    return (Path(parent) if parent else Path.home() / ".cache") / "vae-toolchain"


def clear_cache(folder: Path) -> tuple[int, int]:
    """Remove decoded images and classifiers from a cache, and nothing else. Returns how many files, and their bytes.

    Files of a process that is just writing one are removed too, and it then fails. Raises DataError where a file cannot
    be removed.
    """
    files = [path for kept in _KEPT for name in (kept, f".{kept}") for path in folder.glob(name) if path.is_file()]
    total = 0
    for path in files:
        try:
            size = path.stat().st_size
            path.unlink()
        except OSError as error:
            raise DataError(f"{path}: cannot be removed: {error.strerror or error}") from error
        total += size
    return len(files), total
