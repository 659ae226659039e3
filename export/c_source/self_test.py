"""What `vae_self_test` of the C source must find: hashes of latents, images, pixels and posteriors, from NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from export.c_source.network import Floats, Network
from export.c_source.simulate import simulate
from runtime.images.pixels import to_uint8
from runtime.prior import Prior, prior_latents

Expected = dict[str, int]

SEEDS = (0, 7, 2**63 - 1)
INDICES = (0, 2**32 + 5, 2**63 - 1)
_FNV_START, _FNV_PRIME = 2166136261, 16777619


def expected_values(
    decoder: Network, encoder: Network | None, image_shape: tuple[int, int, int], prior: Prior | None = None
) -> Expected:
    """The hashes by name, those of an encoder where there is one. prior: None is N(0, I)."""
    channels, height, width = image_shape
    latent_dim = decoder.sizes[decoder.input]
    latents = np.concatenate(
        [prior_latents(prior, seed, [index], latent_dim) for seed, index in zip(SEEDS, INDICES, strict=True)]
    )
    (images,) = simulate(decoder, latents)  # height, width, channels
    pixels = pixels_of(images)
    planes = images.reshape(3, height, width, channels).transpose(0, 3, 1, 2)
    expected = {"latents": _hash(latents), "images": _hash(planes), "samples": _hash(pixels)}
    if encoder is not None:
        (reconstructed,) = simulate(decoder, simulate(encoder, floats_of(pixels))[0])
        expected["posteriors"] = _hash(np.concatenate(simulate(encoder, images), axis=1))
        expected["reconstructions"] = _hash(pixels_of(reconstructed))
    return expected


def pixels_of(images: Floats) -> npt.NDArray[np.uint8]:
    """float32 (N, size) in [0, 1] → uint8 of the same shape and order."""
    return to_uint8(images[:, None, None, :]).reshape(images.shape)


def floats_of(pixels: npt.NDArray[np.uint8]) -> Floats:
    """uint8 → float32 of the same shape and order: pixel / 255."""
    return pixels.astype(np.float32) / np.float32(255)


def _hash(values: npt.NDArray[Any]) -> int:
    """FNV-1a, 32 bits, over the little-endian bytes."""
    digest = _FNV_START
    for byte in np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes():
        digest = (digest ^ byte) * _FNV_PRIME % 2**32
    return digest
