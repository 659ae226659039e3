"""Images to latents and back, without PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime import images as pixels_and_floats
from runtime.bundle import Bundle
from runtime.errors import InputError
from runtime.session import GraphSession

_CHUNK = 1024


class Reconstructor:
    """Encodes images and decodes them again through the posterior mean, so nothing is random."""

    def __init__(self, bundle: str | Path | Bundle, *, threads: int | None = None) -> None:
        """bundle: a folder made by `vae-export`. threads: None means as many as this process may use.

        Raises BundleError where the bundle is missing or damaged, or its encoder and decoder are of different models.
        """
        self.bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        self._encoder = GraphSession(self.bundle, "encoder")
        self._decoder = GraphSession(self.bundle, "decoder")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        return self.bundle.manifest.metadata.image_shape

    def reconstruct(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Images → their reconstructions, both uint8 (N, H, W, C)."""
        self._check_uint8(images)
        out = np.empty_like(images)
        for start in range(0, len(images), _CHUNK):
            mean, _ = self._encoder.run(pixels_and_floats.to_float(images[start : start + _CHUNK]))
            (image,) = self._decoder.run(mean)
            out[start : start + _CHUNK] = pixels_and_floats.to_uint8(image)
        return out

    def encode(self, images: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Images → posterior mean and log-variance, float32 (N, latent_dim) each.

        images: uint8 (N, H, W, C), or float (N, C, H, W) in [0, 1]. Raises InputError for other shapes, for values
        outside [0, 1] and for NaN.
        """
        if images.dtype == np.uint8:
            self._check_uint8(images)
            floats = pixels_and_floats.to_float(images)
        else:
            floats = self._check_float(images)
        parts = [self._encoder.run(floats[i : i + _CHUNK]) for i in range(0, len(floats), _CHUNK)]
        mean, log_var = (np.concatenate(column) for column in zip(*parts, strict=True))
        return mean, log_var

    def _check_uint8(self, images: npt.NDArray[Any]) -> None:
        channels, height, width = self.image_shape
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (height, width, channels):
            raise InputError(
                f"images should be uint8 (N, {height}, {width}, {channels}), but are {images.dtype} {images.shape}"
            )
        if not len(images):
            raise InputError("images should hold at least one image, but is empty")

    def _check_float(self, images: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        if images.dtype.kind != "f" or images.ndim != 4 or images.shape[1:] != self.image_shape:
            expected = ", ".join(map(str, self.image_shape))
            raise InputError(
                f"images should be uint8 (N, H, W, C) or float (N, {expected}), but are {images.dtype} {images.shape}"
            )
        if not len(images):
            raise InputError("images should hold at least one image, but is empty")
        low, high = images.min(), images.max()
        if not (low >= 0 and high <= 1):  # also false for NaN
            raise InputError(f"images should be in [0, 1] without NaN, but reach from {low} to {high}; divide by 255?")
        return np.ascontiguousarray(images, dtype=np.float32)
