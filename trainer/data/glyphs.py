"""`glyphs`: a labelled data set of printed digits that needs no network.

The ten digits in the fonts that matplotlib ships, drawn at 28×28 and randomly warped by torchvision's transforms with a
fixed seed. It resembles MNIST and trains the same models, so everything can be tried offline.
"""

from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont
from torchvision.transforms import v2

from trainer.threads import one_thread

SIZE = 28
TRAIN_IMAGES = 20_000
TEST_IMAGES = 2_000
_SEED = 20_260_101
_GLYPH_HEIGHT = 20  # pixels, as in MNIST
_FONTS = (
    *(f"DejaVu{family}{style}" for family in ("Sans", "SansMono") for style in ("", "-Bold", "-Oblique")),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic")),
    *(f"STIXGeneral{style}" for style in ("", "Bol", "Italic", "BolIta")),
    *("cmr10", "cmb10", "cmss10", "cmtt10"),
)

Split = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]


def draw_glyphs() -> tuple[Split, Split]:
    """Training and test split: images uint8 (N, 28, 28, 1) and labels int64 (N,), the same on every call.

    Does not change torch's global random state.
    """
    fonts = torch.stack([_draw_digits(font) for font in _FONTS])  # (fonts, 10, 1, 28, 28)
    warp = v2.Compose(
        [
            v2.RandomAffine(degrees=12, translate=(0.08, 0.08), scale=(0.8, 1.1), shear=10,
                            interpolation=v2.InterpolationMode.BILINEAR),
            v2.ElasticTransform(alpha=14.0, sigma=4.0),
        ]
    )  # fmt: skip
    # One warp is applied to all ten digits of a font: ten times fewer calls, and equally many images per class.
    warps = (TRAIN_IMAGES + TEST_IMAGES) // 10
    with torch.random.fork_rng(devices=[]), one_thread():
        torch.manual_seed(_SEED)
        choices = torch.randint(len(fonts), (warps,))
        images = torch.cat([warp(fonts[choice]) for choice in choices])
    pixels = images.permute(0, 2, 3, 1).contiguous().numpy()
    labels = np.tile(np.arange(10), warps)
    return (pixels[:TRAIN_IMAGES], labels[:TRAIN_IMAGES]), (pixels[TRAIN_IMAGES:], labels[TRAIN_IMAGES:])


def _draw_digits(font_name: str) -> torch.Tensor:
    """The ten digits of one font, white on black, centred: uint8 (10, 1, 28, 28)."""
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{font_name}.ttf"
    font = ImageFont.truetype(str(path), 100)
    _, top, _, bottom = font.getbbox("0123456789")
    font = ImageFont.truetype(str(path), 100 * _GLYPH_HEIGHT / (bottom - top))
    digits = []
    for digit in "0123456789":
        canvas = Image.new("L", (SIZE, SIZE))
        ImageDraw.Draw(canvas).text((SIZE / 2, SIZE / 2), digit, fill=255, font=font, anchor="mm")
        digits.append(torch.from_numpy(np.array(canvas))[None])
    return torch.stack(digits)
