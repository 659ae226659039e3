"""A generator without an encoder, for which no images are needed, as a bundle: decoder_alone.py BUNDLE."""

import sys
from pathlib import Path

from my_model import build

from export import Source, export_bundle

source = Source.of_modules(
    decoder=build().decoder.eval(),
    latent_shape=(4, 8, 8),
    image_shape=(3, 32, 32),
    value_range=(-1, 1),
)
export_bundle(source, Path(sys.argv[1]))
