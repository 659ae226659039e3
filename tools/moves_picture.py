"""Draw what the moves in the latent space do to one image, and write docs/moves.png.

python tools/moves_picture.py runs/latest/bundle runs/latest/test_images/0.png
"""

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtime import Reconstructor, Sampler
from runtime.images.image_inputs import as_pixels
from runtime.images.png import save_png
from runtime.images.sheet import labelled_rows

DOCS = Path(__file__).parent.parent / "docs"
STEPS = 10
TRAVERSED = 3  # latents, the ones that change the image most


def main() -> None:
    bundle, name = sys.argv[1:]
    sampler, reconstructor = Sampler(bundle), Reconstructor(bundle)
    (image,) = as_pixels(name, reconstructor.image_shape)
    bolder = np.mean([more_ink(reconstructor, sampler.sample(400, label=label)) for label in sampler.classes], axis=0)
    amounts = np.linspace(0, 1, STEPS).tolist()
    rows = {
        "variations": reconstructor.variations(image, STEPS),
        "spread 2": reconstructor.variations(image, STEPS, spread=2),
        **{f"toward {label}": reconstructor.move(image, label, amounts) for label in sampler.classes[::3]},
        "bolder": reconstructor.move(image, bolder, amounts),
        "thinner": reconstructor.move(image, -bolder, amounts),
    }
    effects = reconstructor.effects(image)
    for dimension in np.argsort(-effects)[:TRAVERSED].tolist():
        rows[f"z{dimension}, -3 to 3"] = reconstructor.traverse(image, dimension, np.linspace(-3, 3, STEPS))
    save_png(DOCS / "moves.png", labelled_rows(np.concatenate(list(rows.values())), list(rows), scale=2))


def more_ink(reconstructor: Reconstructor, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """From the tenth of the images with the least ink to that with the most. Of one class: digits differ in ink too."""
    ink = images.mean((1, 2, 3))
    return reconstructor.direction(images[ink > np.quantile(ink, 0.9)], images[ink < np.quantile(ink, 0.1)])


if __name__ == "__main__":
    main()
