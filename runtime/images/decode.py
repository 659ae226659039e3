"""Image files to uint8 arrays of the model's shape."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from runtime.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

_MOST_PIXELS = 2**26  # of an image that is read: a quarter of a gigabyte once decoded


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
