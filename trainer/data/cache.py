"""Where results that are slow to make and quick to check are kept between runs: decoded images, classifiers."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$VAE_CACHE`, or else `vae-toolchain` in `$XDG_CACHE_HOME` or `~/.cache`. Deleting it loses nothing but time."""
    if "VAE_CACHE" in os.environ:
        return Path(os.environ["VAE_CACHE"])
    parent = os.environ.get("XDG_CACHE_HOME")
    return (Path(parent) if parent else Path.home() / ".cache") / "vae-toolchain"
