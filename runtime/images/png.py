"""Writes uint8 arrays as PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from runtime.files.atomic import replacing

if TYPE_CHECKING:
    from PIL.Image import Image

_PNG_COMPRESSION = 6


def save_png(path: Path, pixels: npt.NDArray[np.uint8], *, text: dict[str, str] | None = None) -> None:
    """Write uint8 (H, W, C), C = 1 or 3, as a PNG, atomically. text: keywords and texts stored in the file."""
    with replacing(path) as temporary:
        write_png(temporary, pixels, text=text)


def write_png(path: Path, pixels: npt.NDArray[np.uint8], *, text: dict[str, str] | None = None) -> None:
    """Write uint8 (H, W, C), C = 1 or 3, as a PNG directly to `path`; unlike `save_png`, not atomic."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for key, value in (text or {}).items():
        info.add_text(key, value)
    to_pillow(pixels).save(path, format="PNG", compress_level=_PNG_COMPRESSION, pnginfo=info)


def to_pillow(pixels: npt.NDArray[np.uint8]) -> Image:
    """uint8 (H, W, C), C = 1 or 3, as a Pillow image."""
    from PIL import Image

    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
