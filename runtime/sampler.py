"""Seeds to images: the generator, without PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtime import images
from runtime.bundle import Bundle
from runtime.errors import InputError
from runtime.noise import standard_normal
from runtime.session import GraphSession

_CHUNK = 1024  # images a call: larger ones leave the cache and are slower


class Sampler:
    """Draws images from a bundle's decoder.

    Sample `index` of `seed` is the same latent to the bit, and the same image to one grey level, whatever the batch,
    the order, the number of threads or the machine.
    """

    def __init__(self, bundle: str | Path | Bundle, *, threads: int | None = None) -> None:
        """bundle: a folder made by `vae-export`. threads: None means as many as this process may use.

        Raises BundleError where the bundle is missing or damaged.
        """
        self.bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        self._decoder = GraphSession(self.bundle, "decoder", threads=threads)

    @property
    def latent_dim(self) -> int:
        """Size L of a latent vector."""
        return self.bundle.manifest.metadata.latent_dim

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        return self.bundle.manifest.metadata.image_shape

    def sample(self, num: int, *, seed: int = 0, first: int = 0, temperature: float = 1.0) -> npt.NDArray[np.uint8]:
        """Images `first` … `first + num - 1` of `seed`: uint8 (num, H, W, C).

        temperature: standard deviation of the latents; below 1 gives more typical images, above 1 more unusual ones.
        """
        if num < 1:
            raise InputError(f"num should be at least 1, but is {num}")
        if first < 0:
            raise InputError(f"first should be at least 0, but is {first}")
        return self.sample_indices(np.arange(first, first + num), seed=seed, temperature=temperature)

    def sample_indices(
        self, indices: npt.ArrayLike, *, seed: int = 0, temperature: float = 1.0
    ) -> npt.NDArray[np.uint8]:
        """Images of any indices, in their order: uint8 (N, H, W, C)."""
        indices = np.asarray(indices)
        channels, height, width = self.image_shape
        pixels = np.empty((len(indices), height, width, channels), np.uint8)
        for start in range(0, len(indices), _CHUNK):
            z = self.latents(indices[start : start + _CHUNK], seed=seed, temperature=temperature)
            (image,) = self._decoder.run(z)
            pixels[start : start + _CHUNK] = images.to_uint8(image)
        return pixels

    def latents(self, indices: npt.ArrayLike, *, seed: int = 0, temperature: float = 1.0) -> npt.NDArray[np.float32]:
        """Prior latents of any indices: float32 (N, latent_dim), standard normal times `temperature`."""
        if not 0 <= temperature < np.inf:
            raise InputError(f"temperature should be a finite number of at least 0, but is {temperature}")
        return standard_normal(seed, indices, self.latent_dim) * np.float32(temperature)

    def decode(self, z: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Latents float32 (N, latent_dim) → images float32 (N, C, H, W) in [0, 1]."""
        latents = np.ascontiguousarray(z, dtype=np.float32)
        if latents.ndim != 2 or latents.shape[1] != self.latent_dim:
            raise InputError(f"z should have the shape (N, {self.latent_dim}), but has {latents.shape}")
        if not np.isfinite(latents).all():
            raise InputError("z should be finite, but holds NaN or infinity")
        image: npt.NDArray[np.float32] = self._decoder.run(latents)[0]
        return image
