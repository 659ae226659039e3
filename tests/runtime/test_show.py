"""Files and Pillow images are taken where arrays are, and grids are Pillow images that notebooks display."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runtime import InputError, Reconstructor, Sampler


def test_files_and_pillow_images_give_what_their_pixels_give(bundle: Path, tmp_path: Path) -> None:
    reconstructor = Reconstructor(bundle)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 12, 12, 1), np.uint8)
    expected = reconstructor.reconstruct(pixels)
    pictures = [Image.fromarray(image[:, :, 0]) for image in pixels]
    for i, picture in enumerate(pictures):
        picture.save(tmp_path / f"{i}.png")
    names: list[str | Path] = [str(tmp_path / "0.png"), tmp_path / "1.png"]
    assert (reconstructor.reconstruct(pictures) == expected).all()
    assert (reconstructor.reconstruct(names) == expected).all()
    assert (reconstructor.reconstruct([names[0], pictures[1]]) == expected).all()
    assert (reconstructor.encode(pictures[1])[0] == reconstructor.encode(pixels[1:])[0]).all()
    assert reconstructor.reconstruct(Image.new("RGBA", (40, 30))).shape == (1, 12, 12, 1)
    for wrong, message in ((3, "but are int64"), ([object()], "images"), ("no.png", "no such file")):
        with pytest.raises(InputError, match=message):
            reconstructor.reconstruct(wrong)  # type: ignore[arg-type]


def test_grids_are_pillow_images(bundle: Path) -> None:
    sheet = Sampler(bundle).show(10, columns=5, scale=2)
    assert sheet.size == (2 * (5 * 14 + 2), 2 * (2 * 14 + 2))
    assert (np.asarray(sheet)[4:28:2, 4:28:2] == Sampler(bundle).sample(1)[0, :, :, 0]).all()
    shown = Reconstructor(bundle).show(Image.new("L", (12, 12)), scale=1)
    assert shown.height == 2 + 2 * (12 + 2) + 14
