"""A pythae model as a bundle: pythae_vae.py BUNDLE. Yours comes from `AutoModel.load_from_folder(…)`."""

import sys
from pathlib import Path

import numpy as np
from pythae.models import VAE, VAEConfig

from export import Source, export_bundle

model = VAE(VAEConfig(input_dim=(1, 28, 28), latent_dim=16)).eval()
source = Source.of_modules(
    decoder=model.decoder,
    encoder=model.encoder,
    latent_shape=(16,),
    image_shape=(1, 28, 28),
    decode=lambda decoder, z: decoder(z).reconstruction,
    encode=lambda encoder, x: ((out := encoder(x)).embedding, out.log_covariance),
    images=np.random.default_rng(0).integers(0, 256, (16, 28, 28, 1), np.uint8),  # yours: real ones
)
export_bundle(source, Path(sys.argv[1]))
