"""Pixels: between uint8 arrays, float arrays and image files.

uint8 images are (N, H, W, C), ready for a canvas or a PNG; float images are (N, C, H, W) in [0, 1], as the graphs take
and give them.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from runtime.errors import InputError
from runtime.files import replacing

if TYPE_CHECKING:
    from PIL.Image import Image

_BITS_OF_255 = np.float32(255).view(np.uint32)
_PNG_COMPRESSION = 6
_MOST_PIXELS = 2**26  # of an image that is read: a quarter of a gigabyte once decoded


def to_float(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """uint8 (N, H, W, C) → float32 (N, C, H, W) in [0, 1]: pixel / 255, correctly rounded."""
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).astype(np.float32) / np.float32(255)


def to_uint8(image: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """float32 (N, C, H, W) → uint8 (N, H, W, C): 255 · x rounded half to even, clipped to 0 … 255."""
    count, channels, height, width = image.shape
    pixels = np.empty((count, height, width, channels), np.uint8)
    round_into(pixels, image.copy())
    return pixels


def round_into(pixels: npt.NDArray[np.uint8], image: npt.NDArray[np.float32]) -> None:
    """`to_uint8` without any new memory: fills `pixels` (N, H, W, C) and overwrites `image` (N, C, H, W)."""
    np.multiply(image, np.float32(255), out=image)
    np.rint(image, out=image)
    if (
        image.view(np.uint32).max() > _BITS_OF_255
    ):  # so are a negative number's, and NaN's; a third of the cost of np.clip
        np.clip(image, 0, 255, out=image)
    np.copyto(pixels.transpose(0, 3, 1, 2), image, casting="unsafe")


def load_image(path: Path, image_shape: tuple[int, int, int]) -> tuple[npt.NDArray[np.uint8], str]:
    """An image file as uint8 (H, W, C), and what had to be changed for that ("" where nothing).

    image_shape: (C, H, W) of the model. Colour becomes gray or gray becomes colour, transparency is laid on black, and
    another size is resampled (Lanczos). Raises InputError where the file is no image.
    """
    from PIL import Image

    channels, height, width = image_shape
    image = _open_image(path)
    changes = []
    mode = "L" if channels == 1 else "RGB"
    if image.mode in ("I", "I;16", "I;16B"):  # Pillow's own conversion would clip everything above 255
        changes.append("16 bits to 8")
        image = Image.fromarray(np.rint(np.asarray(image, np.float64) / 257).clip(0, 255).astype(np.uint8))
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    if image.mode != mode:
        changes.append(f"{image.mode} to {mode}")
        image = image.convert(mode)
    if image.size != (width, height):
        changes.append(f"{image.width}×{image.height} to {width}×{height}")
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(image, dtype=np.uint8).reshape(height, width, channels), ", ".join(changes)


def _open_image(path: Path) -> Image:
    """The decoded file, with transparency (of whatever kind) as RGBA. Raises InputError."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.simplefilter("ignore", UserWarning)  # Pillow's remarks on odd metadata
            with Image.open(path) as file:
                if file.width * file.height > _MOST_PIXELS:
                    raise InputError(f"{path}: {file.width}×{file.height} is over {_MOST_PIXELS:,} pixels; shrink it")
                if file.mode in ("I", "F"):
                    raise InputError(f"{path}: has 32-bit pixels, whose black and white are unknown; make them 8-bit")
                transparent = "transparency" in file.info or file.mode in ("LA", "La", "PA", "RGBa")
                return file.convert("RGBA") if transparent else file.copy()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except InputError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever a damaged file makes them run into
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: cannot be read as an image ({type(error).__name__}: {reason})") from error


def grid(images: npt.NDArray[np.uint8], columns: int, *, gap: int = 2, scale: int = 1) -> npt.NDArray[np.uint8]:
    """Images uint8 (N, H, W, C) in rows of `columns`, `gap` black pixels apart and around: uint8 (H', W', C).

    scale: every pixel becomes a square of that many.
    """
    count, height, width, channels = images.shape
    rows = -(-count // columns)
    canvas = np.zeros((rows * (height + gap) + gap, columns * (width + gap) + gap, channels), np.uint8)
    for i, image in enumerate(images):
        top, left = gap + (i // columns) * (height + gap), gap + (i % columns) * (width + gap)
        canvas[top : top + height, left : left + width] = image
    return canvas.repeat(scale, axis=0).repeat(scale, axis=1)


def save_png(path: Path, pixels: npt.NDArray[np.uint8], *, text: dict[str, str] | None = None) -> None:
    """Write uint8 (H, W, C), C = 1 or 3, as a PNG: complete or not at all. text: notes to keep in the file."""
    with replacing(path) as temporary:
        write_png(temporary, pixels, text=text)


def write_png(path: Path, pixels: npt.NDArray[np.uint8], *, text: dict[str, str] | None = None) -> None:
    """Write uint8 (H, W, C), C = 1 or 3, as a PNG, straight to its place: `save_png` without its care."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for key, value in (text or {}).items():
        info.add_text(key, value)
    _to_pillow(pixels).save(path, format="PNG", compress_level=_PNG_COMPRESSION, pnginfo=info)


def _to_pillow(pixels: npt.NDArray[np.uint8]) -> Image:
    from PIL import Image

    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
