"""Arranges images in one picture: as a grid, or as originals above reconstructions with the error below."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from runtime.errors import InputError
from runtime.machine.memory import shortage

_GAP = 2
_LABEL_HEIGHT = 14
_MOST_COLUMNS = 16
_SHORT_ROW = 8
_COPIES = 3  # of a picture, while it is made and written
_WORTH_ASKING = 2**26  # bytes


def grid(images: npt.NDArray[np.uint8], columns: int, *, gap: int = 2, scale: int = 1) -> npt.NDArray[np.uint8]:
    """Images uint8 (N, H, W, C) as a grid with `columns` columns and `gap` black pixels around each: uint8 (H', W', C).

    scale: every pixel becomes a square of `scale` × `scale` pixels, gaps included. Raises InputError where there is
    not the memory for such a picture.
    """
    count, height, width, channels = images.shape
    rows = -(-count // columns)
    shape = (rows * (height + gap) + gap, columns * (width + gap) + gap, channels)
    _require_memory((shape[0] * scale, shape[1] * scale, channels))
    canvas = np.zeros(shape, np.uint8)
    for i, image in enumerate(images):
        top, left = gap + (i // columns) * (height + gap), gap + (i % columns) * (width + gap)
        canvas[top : top + height, left : left + width] = image
    return canvas.repeat(scale, axis=0).repeat(scale, axis=1)


def columns_for(num: int) -> int:
    """Columns of a grid of `num` images: one row of up to eight, otherwise nearly square with few empty places."""
    if num <= _SHORT_ROW:
        return num
    square = math.ceil(math.sqrt(num))
    return min(range(square, 2 * square), key=lambda columns: (-num % columns, columns))


def labelled_rows(images: npt.NDArray[np.uint8], labels: Sequence[str], *, scale: int = 1) -> npt.NDArray[np.uint8]:
    """A `grid` with one row for each of `labels`, written to the left of it: uint8 (H', W', C).

    images: uint8 (N, H, W, C), N a multiple of the number of labels.
    """
    from PIL import Image, ImageDraw, ImageFont

    sheet = grid(images, len(images) // len(labels), scale=scale)
    font = ImageFont.load_default()
    margin = int(max(font.getlength(label) for label in labels)) + 2 * _GAP
    channels = sheet.shape[2]
    canvas = Image.new("L" if channels == 1 else "RGB", (margin, sheet.shape[0]))
    draw = ImageDraw.Draw(canvas)
    row_height = (sheet.shape[0] - _GAP * scale) / len(labels)
    for row, label in enumerate(labels):
        middle = _GAP * scale + (row + 0.5) * row_height - _LABEL_HEIGHT / 2
        draw.text((_GAP, middle), label, fill=255 if channels == 1 else (255, 255, 255), font=font)
    words = np.asarray(canvas, dtype=np.uint8).reshape(canvas.height, canvas.width, channels)
    return np.concatenate([words, sheet], axis=1)


def mean_absolute_errors(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """For each pair of images, uint8 (N, H, W, C): the mean of |a − b| over its pixels, in grey levels: (N,)."""
    difference: npt.NDArray[np.float64] = np.abs(a.astype(np.int16) - b).mean(axis=(1, 2, 3))
    return difference


def comparison(
    originals: npt.NDArray[np.uint8],
    reconstructions: npt.NDArray[np.uint8],
    *,
    scale: int = 1,
) -> npt.NDArray[np.uint8]:
    """Each original above its reconstruction, in columns, with the mean absolute error below: uint8 (H', W', C).

    Both uint8 (N, H, W, C). scale: every pixel of the images becomes a square of `scale` × `scale` pixels. Raises
    InputError where there is not the memory for such a picture.
    """
    from PIL import Image, ImageDraw, ImageFont

    count, height, width, channels = originals.shape
    font = ImageFont.load_default()
    labels = [f"{error:.1f}" for error in mean_absolute_errors(originals, reconstructions)]
    text_width = int(max(font.getlength(label) for label in labels)) + 1
    cell_width = max(width * scale, text_width) + _GAP
    cell_height = 2 * (height * scale + _GAP) + _LABEL_HEIGHT
    columns = min(count, _MOST_COLUMNS)
    rows = -(-count // columns)
    size = (columns * cell_width + _GAP, rows * cell_height + _GAP)
    _require_memory((size[1], size[0], channels))
    canvas = Image.new("L" if channels == 1 else "RGB", size)
    draw = ImageDraw.Draw(canvas)
    white = 255 if channels == 1 else (255, 255, 255)
    for i, label in enumerate(labels):
        left, top = _GAP + i % columns * cell_width, _GAP + i // columns * cell_height
        for pixels in (originals[i], reconstructions[i]):
            shown = pixels.repeat(scale, axis=0).repeat(scale, axis=1)
            canvas.paste(Image.fromarray(shown[:, :, 0] if channels == 1 else shown), (left, top))
            top += height * scale + _GAP
        draw.text((left + (cell_width - _GAP - font.getlength(label)) / 2, top), label, fill=white, font=font)
    return np.asarray(canvas, dtype=np.uint8).reshape(canvas.height, canvas.width, channels)


def _require_memory(shape: tuple[int, int, int]) -> None:
    height, width, channels = shape
    size = height * width * channels
    lack = shortage(_COPIES * size) if size > _WORTH_ASKING else None
    if lack is not None:
        raise InputError(
            f"a picture of {width:,}×{height:,} pixels needs {lack}; choose a smaller --scale, or fewer images"
        )
