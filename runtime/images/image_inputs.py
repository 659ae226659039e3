"""Loads images from files, folders and `.npy` arrays and converts them to the model's shape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import InputError
from runtime.files.regular import read_start
from runtime.images.decode import SUFFIXES, fit_image, images_in, load_image, pillow_warnings_ignored

_MOST_BYTES = 2**30  # total size of all images after conversion to the model's shape


@dataclass(frozen=True)
class ImageInputs:
    """Images with their names and the conversions made."""

    pixels: npt.NDArray[np.uint8]
    """(N, H, W, C)."""
    names: list[str]
    changes: list[str]
    """For each image the conversions made, "" if none."""
    skipped: list[str]
    """Files of folders that cannot be read, each with the reason."""


def as_pixels(images: object, image_shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """A file name, a Pillow image, or a sequence of these, as uint8 (N, H, W, C) of the model's shape (C, H, W).

    A name may be that of a folder or of a `.npy` file, see `load_images`. Raises InputError for anything else.
    """
    from PIL import Image

    items = images if isinstance(images, list | tuple) else [images]
    found = []
    for item in items:
        if isinstance(item, str | Path):
            found.append(load_images([Path(item)], image_shape).pixels)
        elif isinstance(item, Image.Image):
            found.append(fit_image(item, image_shape)[np.newaxis])
        else:
            raise InputError(
                f"an image should be an array, a file name or a Pillow image, but is {type(item).__name__}"
            )
    if not found:
        raise InputError("images should hold at least one image, but is empty")
    return np.concatenate(found)


def load_images(paths: Sequence[Path], image_shape: tuple[int, int, int], *, strict: bool = False) -> ImageInputs:
    """Load all images of `paths`, in order; the files of a folder are sorted by name.

    image_shape: (C, H, W) of the model. strict: raise an error for images that need conversion, and for files of
    folders that cannot be read; otherwise these are left out and listed. Raises InputError, naming the file, if one
    that was named is not an image, or a folder has none that can be read.
    """
    pixels: list[npt.NDArray[np.uint8]] = []
    names: list[str] = []
    changes: list[str] = []
    skipped: list[str] = []
    size = 0
    with pillow_warnings_ignored():
        for name, image, change in (found for path in paths for found in _images(path, image_shape, strict, skipped)):
            if change and strict:
                raise InputError(f"{name}: needs conversion ({change}), which --strict forbids")
            size += image.nbytes
            if size > _MOST_BYTES:
                raise InputError(f"{name}: more than {_MOST_BYTES:,} bytes of images in one call; give fewer at a time")
            pixels.append(image)
            names.append(name)
            changes.append(change)
    return ImageInputs(np.stack(pixels), names, changes, skipped)


def _images(
    path: Path, image_shape: tuple[int, int, int], strict: bool, skipped: list[str]
) -> Iterator[tuple[str, npt.NDArray[np.uint8], str]]:
    """Name, pixels and conversions of each image. skipped: takes the files of a folder that cannot be read."""
    if path.is_dir():
        files = images_in(path.iterdir())
        if not files:
            raise InputError(f"{path}: contains no image; image file names end in {', '.join(SUFFIXES)}")
        unreadable = len(skipped) + len(files)
        for file in files:
            try:
                image, change = load_image(file, image_shape)
            except InputError as error:
                if strict:
                    raise
                skipped.append(str(error))
                if len(skipped) == unreadable:
                    raise InputError(f"{path}: none of its {len(files)} images can be read; {error}") from error
            else:
                yield str(file), image, change
    elif path.suffix == ".npy":
        for i, image in enumerate(_load_array(path, image_shape)):
            yield f"{path}[{i}]", image, ""
    else:
        yield (str(path), *load_image(path, image_shape))


def _load_array(path: Path, image_shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    channels, height, width = image_shape
    try:
        start = read_start(path, len(np.lib.format.MAGIC_PREFIX))
        if start != np.lib.format.MAGIC_PREFIX:  # NumPy would take it for a pickle, and recommend to load that
            raise ValueError("it is no .npy file")
        # Memory-mapped, so that a header that claims terabytes gives an error instead of an allocation.
        array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # for a damaged header, NumPy raises many classes of exceptions
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise InputError(f"{path}: cannot be read as an array ({reason})") from error
    if array.ndim == 3 and channels == 1:
        array = array[..., np.newaxis]
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[1:] != (height, width, channels) or not len(array):
        raise InputError(
            f"{path}: should be uint8 (N, {height}, {width}, {channels}), N at least 1, "
            f"but is {array.dtype} {array.shape}"
        )
    return array
