"""Loads a data set by name or path with the matching reader."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from trainer.data.dataset import DataSource, ImageData
from trainer.data.idx import FAMILY_NAMES, is_idx_folder, load_family, load_idx_file, load_idx_folder
from trainer.data.image_folder import load_folder
from trainer.data.numpy_files import load_arrays
from trainer.data.resize import reshape_data
from trainer.errors import DataError, DownloadError

NAMES = ("mnist", "fashion-mnist", "kmnist", "glyphs")
"""Data sets known by name; anything else is a path."""
_DATA_DIR = "data"


def load(
    name: str | Path,
    data_dir: str | Path | None = None,
    *,
    image_size: int | None = None,
    channels: int | None = None,
    cache_dir: str | Path | None = None,
) -> ImageData:
    """The data set `name`: one of NAMES, or the path of a folder of images, of IDX files, or of a `.npy`, `.npz` or
    IDX file.

    data_dir: where the named data sets are stored, or downloaded to; None means $VAE_DATA, or else data. image_size:
    side in pixels; the central square of each image is resized to it; None keeps the size. channels: 1 or 3; None keeps
    them. cache_dir: where the decoded images of a folder are kept; None means $VAE_CACHE, or else
    ~/.cache/vae-toolchain. Raises DataError if the data is missing or cannot be used.
    """
    directory = Path(data_dir or os.environ.get("VAE_DATA") or _DATA_DIR)
    cache = None if cache_dir is None else Path(cache_dir)
    data = reshape_data(_load(str(name), directory, image_size, channels, cache), image_size, channels)
    is_stored = str(name) in FAMILY_NAMES
    source = DataSource(
        str(name) if str(name) in NAMES else str(Path(name).resolve()),
        str(directory.resolve()) if is_stored else None,
        image_size,
        channels,
    )
    return replace(data, source=source)


def _load(name: str, data_dir: Path, image_size: int | None, channels: int | None, cache_dir: Path | None) -> ImageData:
    if name in FAMILY_NAMES:
        return load_family(name, data_dir)
    if name == "glyphs":
        from trainer.data.glyphs import draw_glyphs

        (train_images, train_labels), (test_images, test_labels) = draw_glyphs()
        return ImageData(name, train_images, test_images, train_labels, test_labels)
    path = Path(name)
    if path.is_dir():
        if is_idx_folder(path):
            return load_idx_folder(path, path.resolve().name)
        return load_folder(path, image_size=image_size, channels=channels, cache_dir=cache_dir)
    if path.suffix in (".npy", ".npz"):
        return load_arrays(path)
    if "-idx" in path.name or path.suffix == ".idx":
        return load_idx_file(path)
    raise DataError(
        f"unknown data set {name!r}; expected {', '.join(NAMES)}, or the path of a folder of images, "
        "a .npy or .npz file, or an IDX file"
    )


def load_default(
    data_dir: Path | None, *, image_size: int | None = None, channels: int | None = None
) -> tuple[ImageData, str]:
    """MNIST if it is on disk or can be downloaded, otherwise glyphs; and the reason for glyphs, or "".

    Damaged MNIST files raise DataError.
    """
    try:
        return load("mnist", data_dir, image_size=image_size, channels=channels), ""
    except DownloadError as error:
        return load("glyphs", data_dir, image_size=image_size, channels=channels), str(error)
