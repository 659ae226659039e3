"""A hand-written convolutional VAE with spatial latents, trained elsewhere, as a bundle: hand_written.py BUNDLE."""

import sys
from pathlib import Path

import numpy as np
from my_model import build

from export import Source, export_bundle

model = build().eval()
source = Source.of_modules(
    decoder=model.decoder,
    encoder=model.encoder,
    latent_shape=(4, 8, 8),
    image_shape=(3, 32, 32),
    value_range=(-1, 1),
    images=np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), np.uint8),  # yours: real ones
)
export_bundle(source, Path(sys.argv[1]))
