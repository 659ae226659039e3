"""Data sets from NumPy files: `.npy` with images, `.npz` with images, labels and splits."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.data import ImageData
from trainer.errors import DataError


def load_arrays(path: Path) -> ImageData:
    """A `.npy` file of images, or a `.npz` file with `images` and perhaps `labels`, or with `train_images`,
    `test_images` and perhaps `train_labels`, `test_labels`.

    Images: uint8 (N, H, W) or (N, H, W, C), or floats of those shapes in [0, 1]. Raises DataError for anything else.
    """
    arrays = _read(path)
    name = path.name
    if "train_images" in arrays and "test_images" in arrays:
        return ImageData(
            name,
            to_pixels(arrays["train_images"], f"{name}: train_images"),
            to_pixels(arrays["test_images"], f"{name}: test_images"),
            _labels(arrays, "train_labels"),
            _labels(arrays, "test_labels"),
        )
    if "images" not in arrays:
        raise DataError(f"{path}: should hold images, or train_images and test_images, but holds {', '.join(arrays)}")
    return ImageData.hold_out(name, to_pixels(arrays["images"], name), _labels(arrays, "labels"))


def to_pixels(images: npt.NDArray[Any], name: str) -> npt.NDArray[np.uint8]:
    """Images as uint8 (N, H, W, C). Raises DataError for floats outside [0, 1], NaN, and other types or shapes."""
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape:
        raise DataError(f"{name}: should have the shape (N, H, W) or (N, H, W, 1 or 3) but has {images.shape}")
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind != "f":
        raise DataError(f"{name}: should be uint8, or floats in [0, 1], but is {images.dtype}")
    low, high = images.min(), images.max()
    if not (low >= 0 and high <= 1):  # also false for NaN
        raise DataError(
            f"{name}: floats should be in [0, 1] without NaN but reach from {low:g} to {high:g}; "
            "a Bernoulli likelihood has no meaning elsewhere: rescale them, or save uint8"
        )
    return np.rint(images * 255.0).astype(np.uint8)


def _read(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            return {"images": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read as a NumPy file: {error}") from error


def _labels(arrays: dict[str, npt.NDArray[Any]], key: str) -> npt.NDArray[np.int64] | None:
    if key not in arrays:
        return None
    if arrays[key].dtype.kind not in "iu":
        raise DataError(f"{key} should be integers but is {arrays[key].dtype}")
    return arrays[key].astype(np.int64)
