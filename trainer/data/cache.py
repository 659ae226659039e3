"""The folder of cached results: decoded images, classifiers."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$VAE_CACHE`, or else `vae-toolchain` in `$XDG_CACHE_HOME` or `~/.cache`. It can be deleted at any time."""
    if "VAE_CACHE" in os.environ:
        return Path(os.environ["VAE_CACHE"])
    parent = os.environ.get("XDG_CACHE_HOME")
    return (Path(parent) if parent else Path.home() / ".cache") / "vae-toolchain"
