"""Make a folder of some thousand small colour JPEGs in two classes from seven photographs that Python packages ship.

Each file is a square crop of random place and size, mirrored half of the time, a little rotated, and with other
brightness, contrast and saturation. `portraits` comes from astronaut and chelsea (scikit-image) and grace_hopper
(matplotlib); `scenes` from coffee and rocket (scikit-image), china and flower (scikit-learn). Crops of one photograph
overlap, so held-out crops measure the fit, not how a model generalises to other photographs.

    python benchmarks/peers/photo_crops.py FOLDER [--side 64] [--images 3000]
"""

from __future__ import annotations

from pathlib import Path

import click
import matplotlib.cbook
import numpy as np
import skimage.data
import sklearn.datasets
from PIL import Image, ImageEnhance, ImageOps


def photographs() -> dict[str, list[Image.Image]]:
    """The photographs of each class, RGB."""
    data = Path(skimage.data.__file__).parent
    china, flower = (sklearn.datasets.load_sample_image(f"{name}.jpg") for name in ("china", "flower"))
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        hopper = Image.open(file).convert("RGB")
    portraits = [Image.open(data / "astronaut.png").crop((60, 0, 400, 340)), Image.open(data / "chelsea.png"), hopper]
    scenes = [
        Image.open(data / "coffee.png"),
        Image.open(data / "rocket.jpg"),
        Image.fromarray(china),
        Image.fromarray(flower),
    ]
    return {
        "portraits": [image.convert("RGB") for image in portraits],
        "scenes": [image.convert("RGB") for image in scenes],
    }


def crop(photo: Image.Image, side: int, random: np.random.Generator) -> Image.Image:
    """One crop of `photo`, side × side pixels."""
    length = int(random.uniform(0.55, 1.0) * min(photo.size))
    left, top = (int(random.integers(0, size - length + 1)) for size in photo.size)
    cut = photo.rotate(random.uniform(-6, 6), Image.Resampling.BICUBIC, center=(left + length / 2, top + length / 2))
    small = cut.resize((side, side), Image.Resampling.LANCZOS, (left, top, left + length, top + length))
    if random.random() < 0.5:
        small = ImageOps.mirror(small)
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        small = enhance(small).enhance(random.uniform(0.8, 1.2))
    return small


def write_crops(folder: Path, side: int, images: int) -> None:
    """Write `images` crops, half of each class, as folder/CLASS/NUMBER.jpg; the same for every call."""
    random = np.random.default_rng(0)
    for name, photos in photographs().items():
        (folder / name).mkdir(parents=True)
        for i in range(images // 2):
            crop(photos[i % len(photos)], side, random).save(folder / name / f"{i:05d}.jpg", quality=92)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--side", type=int, default=64, show_default=True)
@click.option("--images", type=int, default=3000, show_default=True)
def main(folder: Path, side: int, images: int) -> None:
    """Write the crops."""
    write_crops(folder, side, images)


if __name__ == "__main__":
    main()
