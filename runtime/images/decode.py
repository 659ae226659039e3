"""Pixels, version 1: conversion of image files to uint8 arrays of the model's shape, for training and inference.

1. Decode the first frame and rotate or flip it according to its EXIF orientation.
2. Convert 16-bit gray to 8 bits: rint(x / 257). 32-bit gray is an error, since its black and white are unknown.
3. Transparency is composited onto black.
4. Convert to Pillow's `L` (ITU-R 601-2 luma) for a model with one channel, to `RGB` for one with three.
5. Crop the largest centred area with the model's proportions and resample it with Pillow's Lanczos filter, first along
   rows, then along columns, rounded to 8 bits in between. (Like `ImageOps.fit`, but with a fixed order: Pillow 13
   chooses the order by size, older versions do not, and where an overshoot is clipped in between, the results differ
   by tens of grey levels.)

`manifest.json` records this version. The trainer and `vae-reconstruct` both call the functions below, so they read the
same pixels from a file; `web/src/resample.js` follows the same steps in the browser.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from runtime.errors import InputError
from runtime.files.regular import open_regular

if TYPE_CHECKING:
    from PIL.Image import Image, Transpose

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""File name extensions that count as images when a folder is read, in lower case."""

_MOST_PIXELS = 2**26  # a quarter of a gigabyte once decoded as RGBA
_STRIP_PIXELS = 2**20
# As Pillow calls them. It reads more, some by other programs: what claims to be a picture could be PostScript.
_FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TGA", "TIFF", "WEBP")
_ORIENTATION = 0x0112  # the EXIF tag
_GRAY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N")
_ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")
# Formats without 32-bit gray: where Pillow opens one of these in mode I, the values are 16-bit.
_SIXTEEN_BIT_FORMATS = ("PNG", "PPM")


def images_in(paths: Iterable[Path]) -> list[Path]:
    """The image files among `paths`, sorted, without hidden files."""
    return sorted(path for path in paths if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))


@dataclass(frozen=True)
class ImageHeader:
    """Properties of an image file before its pixels are converted."""

    size: tuple[int, int]
    """Width and height in pixels, upright."""
    is_gray: bool


def read_header(path: Path) -> ImageHeader:
    """Size and colour of an image file. Raises InputError where it cannot be read as an image."""
    with _opened(path) as image:
        if image.format == "TIFF":
            image.load()  # Pillow turns a TIFF upright when it decodes it
        turned = image.getexif().get(_ORIENTATION, 1) >= 5  # orientations 5 to 8 exchange width and height
        return ImageHeader(image.size[::-1] if turned else image.size, image.mode in _GRAY_MODES)


def load_image(path: Path, image_shape: tuple[int, int, int]) -> tuple[npt.NDArray[np.uint8], str]:
    """An image file as uint8 (H, W, C), and what was converted ("" where nothing was).

    image_shape: (C, H, W) of the model. Raises InputError where the file cannot be read as an image, has more than
    2**26 pixels, or has 32-bit pixels. Wrap many calls in `pillow_warnings_ignored`.
    """
    with _opened(path) as file:
        pixels, changes = _convert(file, path, image_shape)
    return pixels, ", ".join(changes)


def fit_image(image: Image, image_shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """A Pillow image as uint8 (H, W, C), converted as a file would be. image_shape: (C, H, W) of the model.

    Raises InputError for 32-bit pixels, and for an image without pixels.
    """
    return _convert(image, Path("image"), image_shape)[0]


def fit_pixels(pixels: npt.NDArray[np.uint8], image_shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """An array uint8 (H', W', 1 or 3) as uint8 (H, W, C): steps 4 and 5 above. image_shape: (C, H, W)."""
    from PIL import Image

    return fit_image(Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels), image_shape)


def middle_crop(size: tuple[int, int], target: tuple[int, int]) -> tuple[float, float, float, float]:
    """The largest centred box with the proportions of `target` in an image of `size`, both (width, height).

    Returns left, top, right, bottom in pixels, not rounded.
    """
    (width, height), (target_width, target_height) = size, target
    if width * target_height > height * target_width:
        crop_width, crop_height = target_width * height / target_height, float(height)
    else:
        crop_width, crop_height = float(width), target_height * width / target_width
    left, top = (width - crop_width) / 2, (height - crop_height) / 2
    return left, top, left + crop_width, top + crop_height


@contextmanager
def pillow_warnings_ignored() -> Iterator[None]:
    """Silence Pillow's warnings about odd metadata and large images; `load_image` does its own checks.

    Enter it once around all calls, in the main thread: warning filters belong to the process, not to a thread.
    """
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


@contextmanager
def _opened(path: Path) -> Iterator[Image]:
    """Open the file without decoding it. Errors raised inside the block are converted to InputError."""
    from PIL import Image, UnidentifiedImageError

    try:
        # Opened here and not by Pillow, which memory-maps what it opens itself: Pillow 13 maps an uncompressed TIFF of
        # orientation 5 to 8 with width and height exchanged.
        with open_regular(path) as stream, Image.open(stream) as file:
            if file.format not in _FORMATS:
                raise UnidentifiedImageError
            if file.width * file.height > _MOST_PIXELS:
                raise InputError(f"{path}: {file.width}×{file.height} is over {_MOST_PIXELS:,} pixels; shrink it")
            yield file
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder") from None
    except (InputError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise InputError(f"{path}: cannot be read as an image: its format is unknown or not supported") from error
    except Exception as error:  # for damaged files, Pillow's decoders raise many classes of exceptions
        reason = getattr(error, "strerror", None) or " ".join(str(error).replace(str(path), "it").split())
        raise InputError(f"{path}: cannot be read as an image ({type(error).__name__}: {reason})") from error


def _convert(image: Image, path: Path, image_shape: tuple[int, int, int]) -> tuple[npt.NDArray[np.uint8], list[str]]:
    """All steps. Returns uint8 (H, W, C) and a list of the conversions made.

    They are made in strips of rows, so that of a large file only what Pillow has decoded is in memory as a whole.
    """
    from PIL import Image

    image.load()
    if image.mode == "F" or (image.mode == "I" and image.format not in _SIXTEEN_BIT_FORMATS):
        raise InputError(f"{path}: has 32-bit pixels, whose black and white are unknown; make them 8-bit")
    if 0 in image.size:
        raise InputError(f"{path}: has no pixels")
    channels, height, width = image_shape
    orientation = image.getexif().get(_ORIENTATION, 1)
    turned = orientation in _upright()
    size = image.size[::-1] if turned and orientation >= 5 else image.size
    left, top, right, bottom = middle_crop(size, (width, height))
    mode, lanczos = "L" if channels == 1 else "RGB", Image.Resampling.LANCZOS
    fitted = Image.new(mode, (width, size[1]))
    rows = max(1, _STRIP_PIXELS // size[0])
    for start in range(0, size[1], rows):
        stop = min(start + rows, size[1])
        strip, changes = _flatten(_upright_rows(image, orientation, start, stop))
        if strip.mode != mode:
            changes.append(f"{strip.mode} to {mode}")
            # Pillow converts LAB to RGB alone.
            strip = (strip.convert("RGB") if strip.mode == "LAB" else strip).convert(mode)
        if size != (width, height):
            strip = strip.resize((width, stop - start), lanczos, box=(left, 0, right, stop - start))
        fitted.paste(strip, (0, start))
    if turned:
        changes.append("turned upright")
    if size != (width, height):
        changes.append(f"{size[0]}×{size[1]} to {width}×{height}")
        fitted = fitted.resize((width, height), lanczos, box=(0, top, width, bottom))
    return np.asarray(fitted, np.uint8).reshape(height, width, channels), changes


def _upright_rows(image: Image, orientation: int, start: int, stop: int) -> Image:
    """Rows `start` … `stop - 1` of the image when it is shown upright, which may be columns of it as it is stored."""
    width, height = image.size
    sideways, reverse = orientation in (5, 6, 7, 8), orientation in (3, 4, 7, 8)
    length = width if sideways else height
    if stop - start < length:
        first, last = (length - stop, length - start) if reverse else (start, stop)
        image = image.crop((first, 0, last, height) if sideways else (0, first, width, last))
    turn = _upright().get(orientation)
    return image if turn is None else image.transpose(turn)


def _flatten(image: Image) -> tuple[Image, list[str]]:
    """Steps 2 and 3: 8 bits, opaque. Returns the image and a list of the conversions made."""
    from PIL import Image

    if image.mode.startswith("I"):
        return _to_eight_bits(image, image.info.get("transparency")), ["16 bits to 8"]
    if "transparency" not in image.info and image.mode not in _ALPHA_MODES:
        return image, []
    changes, gray = [f"{image.mode} with transparency laid on black"], image.mode in _GRAY_MODES
    image = image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    return image.convert("L" if gray else "RGB"), changes


def _to_eight_bits(image: Image, transparent: int | None) -> Image:
    """16-bit gray as mode L: rint(x / 257). Pixels with the value `transparent` become black."""
    from PIL import Image

    values = np.asarray(image).astype(np.int64)
    gray = np.rint(values / 257).clip(0, 255).astype(np.uint8)
    if transparent is not None:
        gray[values == transparent] = 0
    return Image.fromarray(gray)


def _upright() -> dict[int, Transpose]:
    """EXIF orientation → the operation that turns the image upright; orientation 1 needs none."""
    from PIL.Image import Transpose

    return {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
