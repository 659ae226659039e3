"""A diffusers autoencoder as a bundle: diffusers_vae.py BUNDLE. Yours comes from `AutoencoderKL.from_pretrained(…)`."""

import sys
from pathlib import Path

import numpy as np
from diffusers import AutoencoderKL

from export import Source, export_bundle

blocks = {"down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}
vae = AutoencoderKL(**blocks, block_out_channels=[16, 16], norm_num_groups=4).eval()
source = Source.of_modules(
    decoder=vae,
    encoder=vae,
    latent_shape=(4, 16, 16),
    image_shape=(3, 32, 32),
    value_range=(-1, 1),
    decode=lambda vae, z: vae.decode(z).sample.clamp(-1, 1),
    encode=lambda vae, x: ((q := vae.encode(x).latent_dist).mean, q.logvar),
    images=np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), np.uint8),  # yours: real ones
)
export_bundle(source, Path(sys.argv[1]))
