"""Seeds to images: the generator, without PyTorch."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime import images
from runtime.blocks import Blocks
from runtime.bundle import Bundle
from runtime.errors import InputError
from runtime.noise import standard_normal
from runtime.session import GraphSession
from runtime.threads import usable_cpus

DEFAULT_BATCH_BYTES = 2**24  # of pixels in a batch of `Sampler.stream`


class Sampler:
    """Draws images from a bundle's decoder.

    Sample `index` of `seed` is the same latent to the bit, and the same image to one grey level, whatever the batch,
    the order, the number of threads or the machine. On one machine, `stream` gives the same images to the bit wherever
    it begins and whatever its batches. May be used from several threads at once, and in a forked child.
    """

    def __init__(self, bundle: str | Path | Bundle, *, precision: str = "float32", threads: int | None = None) -> None:
        """bundle: a folder made by `vae-export`. precision: float32, int8 or fp16, which the bundle must hold.
        threads: None means as many as this process may use.

        Raises BundleError where the bundle is missing or damaged.
        """
        self.bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        self.precision = precision
        self.threads = threads or usable_cpus()
        self._decoder = GraphSession(self.bundle, "decoder", precision=precision)
        self._blocks = Blocks.for_images_of(int(np.prod(self.image_shape)))

    @property
    def latent_dim(self) -> int:
        """Size L of a latent vector."""
        return self.bundle.manifest.metadata.latent_dim

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        return self.bundle.manifest.metadata.image_shape

    @property
    def pixels_shape(self) -> tuple[int, int, int]:
        """Height, width and channels: the shape of one image as uint8."""
        channels, height, width = self.image_shape
        return height, width, channels

    @property
    def decoder_file(self) -> str:
        """Name of the bundle's file that draws."""
        return self._decoder.name

    @property
    def block(self) -> int:
        """Images that `stream` computes at a time; blocks begin at multiples of this index."""
        return self._blocks.rows

    @property
    def default_batch(self) -> int:
        """Images in a batch of `stream` where none is asked for: 16 MiB of them, a whole number of blocks."""
        task = self._blocks.task
        return max(1, DEFAULT_BATCH_BYTES // int(np.prod(self.image_shape)) // task) * task

    def sample(self, num: int, *, seed: int = 0, first: int = 0, temperature: float = 1.0) -> npt.NDArray[np.uint8]:
        """Images `first` … `first + num - 1` of `seed`: uint8 (num, H, W, C).

        temperature: standard deviation of the latents; below 1 gives more typical images, above 1 more unusual ones.
        """
        first, num = _check_range(first, num)
        if num < self._blocks.rows:
            return self.sample_indices(np.arange(first, first + num), seed=seed, temperature=temperature)
        return self._draw(first, num, seed, temperature)

    def sample_indices(
        self, indices: npt.ArrayLike, *, seed: int = 0, temperature: float = 1.0
    ) -> npt.NDArray[np.uint8]:
        """Images of any indices, in their order: uint8 (N, H, W, C)."""
        chosen = np.asarray(indices)
        if len(chosen) < self._blocks.rows:  # one call, of just these: a whole block takes longer than a few images
            z = self.latents(chosen, seed=seed, temperature=temperature)
            return images.to_uint8(self._decoder.run(z)[0]) if len(z) else np.empty((0, *self.pixels_shape), np.uint8)
        pixels = np.empty((len(chosen), *self.pixels_shape), np.uint8)

        def fill(start: int, stop: int) -> Sequence[npt.NDArray[Any]]:
            return [self.latents(chosen[start:stop], seed=seed, temperature=temperature)]

        def take(start: int, stop: int, outputs: Sequence[npt.NDArray[Any]]) -> None:
            images.round_into(pixels[start:stop], outputs[0])

        self._blocks.run(self._decoder, 0, len(chosen), self.threads, fill, take)
        return pixels

    def stream(
        self, num: int, *, seed: int = 0, first: int = 0, temperature: float = 1.0, batch_size: int | None = None
    ) -> Iterator[npt.NDArray[np.uint8]]:
        """The same images as `sample`, in batches: uint8 (batch_size, H, W, C), the last one shorter.

        The next batch is computed while the caller uses this one, and memory does not grow with `num`. batch_size:
        None means `default_batch`.
        """
        first, num = _check_range(first, num)
        if batch_size is not None and batch_size < 1:
            raise InputError(f"batch_size should be at least 1, but is {batch_size}")
        self.latents([], seed=seed, temperature=temperature)  # refuses a bad seed or temperature here, not at first use
        return self._stream(num, seed, first, temperature, batch_size or self.default_batch)

    def _stream(
        self, num: int, seed: int, first: int, temperature: float, batch: int
    ) -> Iterator[npt.NDArray[np.uint8]]:
        # Small batches are cut from larger ones, or whole blocks would be computed for a few images each.
        chunk = batch * -(-self._blocks.task // batch)
        starts = range(first, first + num, chunk)
        with ThreadPoolExecutor(1) as ahead:

            def draw(start: int) -> npt.NDArray[np.uint8]:
                return self._draw(start, min(chunk, first + num - start), seed, temperature)

            following = ahead.submit(draw, first)
            for start in starts:
                pixels = following.result()
                if start + chunk < first + num:
                    following = ahead.submit(draw, start + chunk)
                for at in range(0, len(pixels), batch):
                    yield pixels[at : at + batch]

    def _draw(self, first: int, num: int, seed: int, temperature: float) -> npt.NDArray[np.uint8]:
        """A range in whole blocks."""
        pixels = np.empty((num, *self.pixels_shape), np.uint8)

        def fill(start: int, stop: int) -> Sequence[npt.NDArray[Any]]:
            return [self.latents(np.arange(start, stop), seed=seed, temperature=temperature)]

        def take(start: int, stop: int, outputs: Sequence[npt.NDArray[Any]]) -> None:
            images.round_into(pixels[start - first : stop - first], outputs[0])

        self._blocks.run(self._decoder, first, num, self.threads, fill, take)
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


def _check_range(first: int, num: int) -> tuple[int, int]:
    """Both as plain integers, once they are known to be a range of indices."""
    try:
        first, num = operator.index(first), operator.index(num)
    except TypeError:
        raise InputError(f"first and num should be integers, but are {first!r} and {num!r}") from None
    if num < 1:
        raise InputError(f"num should be at least 1, but is {num}")
    if first < 0:
        raise InputError(f"first should be at least 0, but is {first}")
    if first + num > 2**63:
        raise InputError(f"first + num should be at most 2**63, but is {first + num}")
    return first, num
