"""Encoding images to latents and decoding them, without PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from runtime.arguments import as_array, check_factor, check_integer, check_latents, check_precision, check_threads
from runtime.blocks import Blocks
from runtime.bundle import Bundle, as_bundle
from runtime.errors import BundleError, InputError
from runtime.images.pixels import round_into, to_float
from runtime.labels import Label, class_number
from runtime.noise import POSTERIOR_STREAM, standard_normal
from runtime.providers import check_providers
from runtime.session import GraphSession

if TYPE_CHECKING:
    from PIL.Image import Image

_FAR = 2.0  # `effects` compares a latent at -2 and at 2, in standard deviations of N(0, I)
_AT_ONCE = 128  # latents whose effects are computed together
_Pixels = npt.NDArray[np.uint8]
_Floats = npt.NDArray[np.float32]
Images: TypeAlias = "npt.NDArray[Any] | str | Path | Image | Sequence[str | Path | Image]"
"""An array, a file name, a Pillow image, or several of the latter two."""


class Reconstructor:
    """Encodes, reconstructs and interpolates images.

    Only `sample_posterior` is random, and it depends only on its seed. An image's result does not depend on the other
    images of the call. May be used from several threads at once, and in a forked child.
    """

    def __init__(
        self,
        bundle: str | Path | Bundle,
        *,
        precision: str = "float32",
        threads: int | None = None,
        public_key: str | Path | None = None,
        providers: Sequence[str] | None = None,
    ) -> None:
        """Arguments as for `Sampler`.

        Raises what `Sampler` raises, and BundleError also where the bundle has no encoder, or its encoder and decoder
        belong to different models.
        """
        self.bundle = as_bundle(bundle, public_key)
        self.threads = check_threads(threads)
        precision = check_precision(precision)
        self.providers = check_providers(providers)
        self._encoder, self._decoder = (
            GraphSession(
                self.bundle, graph, precision=precision, threads_of_large=self.threads, providers=self.providers
            )
            for graph in ("encoder", "decoder")
        )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        return self.bundle.manifest.metadata.image_shape

    @property
    def latent_dim(self) -> int:
        """Size L of a latent vector."""
        return self.bundle.manifest.metadata.latent_dim

    def reconstruct(self, images: Images) -> _Pixels:
        """Images → their reconstructions through the posterior mean, uint8 (N, H, W, C).

        images: uint8 (N, H, W, C), a file name, a Pillow image, or a list of names and Pillow images. Files and Pillow
        images are converted to the model's size and mode. Raises InputError for arrays of another shape or dtype.
        """
        pixels = self._as_array(images)
        self._check_uint8(pixels)
        return self.decode(self.encode(pixels)[0])

    def show(self, images: Images, *, scale: int = 3) -> Image:
        """Each image above its reconstruction, with the mean absolute error in grey levels, as a Pillow image.

        images: as for `reconstruct`. scale: side of the square that each image pixel becomes, in pixels.
        """
        from runtime.images.png import to_pillow
        from runtime.images.sheet import comparison

        pixels = self._as_array(images)
        return to_pillow(comparison(pixels, self.reconstruct(pixels), scale=scale))

    def _as_array(self, images: Images) -> npt.NDArray[Any]:
        """Files and Pillow images as uint8 (N, H, W, C); everything else as an array, as it is."""
        from PIL.Image import Image

        first = images[0] if isinstance(images, list | tuple) and images else images
        if not isinstance(first, str | Path | Image):
            return as_array("images", images)
        from runtime.images.image_inputs import as_pixels

        return as_pixels(images, self.image_shape)

    def encode(self, images: Images) -> tuple[_Floats, _Floats]:
        """Images → posterior mean and log-variance, float32 (N, latent_dim) each.

        images: uint8 (N, H, W, C), float (N, C, H, W) in [0, 1], or as for `reconstruct`. Raises InputError for other
        shapes, for values outside [0, 1] and for NaN.
        """
        images = self._as_array(images)
        pixels = images.dtype == np.uint8
        if pixels:
            self._check_uint8(images)
        else:
            self._check_float(images)
        mean = np.empty((len(images), self.latent_dim), np.float32)
        log_var = np.empty_like(mean)

        def fill(start: int, stop: int) -> Sequence[npt.NDArray[Any]]:
            part = images[start:stop]
            return [to_float(part) if pixels else part]

        def take(start: int, stop: int, outputs: Sequence[npt.NDArray[Any]]) -> None:
            mean[start:stop], log_var[start:stop] = outputs

        self._run(self._encoder, len(images), fill, take)
        if not (np.isfinite(mean).all() and np.isfinite(log_var).all()):
            raise BundleError(f"{self._encoder.name}: computes NaN or infinity; the bundle is not usable")
        return mean, log_var

    def decode(self, z: npt.ArrayLike) -> _Pixels:
        """Latents float32 (N, latent_dim), N at least 1 → images uint8 (N, H, W, C). `Sampler.decode` gives float32.

        Raises InputError for another shape, NaN and infinity.
        """
        latents = check_latents(z, self.latent_dim, fewest=1)
        channels, height, width = self.image_shape
        pixels = np.empty((len(latents), height, width, channels), np.uint8)

        def fill(start: int, stop: int) -> Sequence[npt.NDArray[Any]]:
            return [latents[start:stop]]

        def take(start: int, stop: int, outputs: Sequence[npt.NDArray[Any]]) -> None:
            round_into(pixels[start:stop], outputs[0])

        self._run(self._decoder, len(latents), fill, take)
        return pixels

    def _run(
        self,
        graph: GraphSession,
        count: int,
        fill: Callable[[int, int], Sequence[npt.NDArray[Any]]],
        take: Callable[[int, int, Sequence[npt.NDArray[Any]]], None],
    ) -> None:
        """Run `graph` for `count` images; `fill` and `take` as for `Blocks.run`."""
        pixels = int(np.prod(self.image_shape))
        blocks = Blocks.for_graph(graph, pixels, self.bundle.manifest.largest_batch)
        blocks.run(graph, 0, count, self.threads, fill, take)

    def sample_posterior(self, images: Images, seed: int, *, first: int = 0) -> _Pixels:
        """One random reconstruction of each image: uint8 (N, H, W, C).

        z = mean + exp(log_var / 2) · noise (Kingma & Welling 2014, section 2.4). The noise of image i is that of
        (seed, first + i) in the posterior stream. images: as for `encode`.
        """
        mean, log_var = self.encode(images)
        indices = np.arange(first, first + len(mean))
        noise = standard_normal(seed, indices, self.latent_dim, stream=POSTERIOR_STREAM)
        return self.decode(mean + np.exp(log_var / 2) * noise)

    def interpolate(self, a: _Pixels, b: _Pixels, steps: int, *, spherical: bool = False) -> _Pixels:
        """Images from `a` to `b`, each uint8 (H, W, C), along a path in the latent space: uint8 (steps, H, W, C).

        steps: at least 2; the first and the last image are the reconstructions of `a` and `b`. spherical: along the
        great arc between the two latents (Shoemake 1985) instead of the straight line. The line passes closer to the
        origin than samples of the prior usually are.
        """
        steps = check_integer("steps", steps, 2)
        start, stop = self.encode(self._pair(a, b))[0].astype(np.float64)
        weight = np.linspace(0, 1, steps)[:, np.newaxis]
        return self.decode(_arc(start, stop, weight) if spherical else (1 - weight) * start + weight * stop)

    def traverse(self, image: _Pixels, dimension: int, values: npt.ArrayLike) -> _Pixels:
        """Reconstructions of `image`, uint8 (H, W, C), with one latent set to each of `values`: uint8 (N, H, W, C).

        dimension: index of the latent, from 0. values: (N,).
        """
        dimension = check_integer("dimension", dimension, 0, self.latent_dim - 1)
        given = as_array("values", values, np.float32)
        if given.ndim != 1 or not len(given):
            raise InputError(f"values should have the shape (N,), N at least 1, but has {given.shape}")
        latents = self.encode(as_array("image", image)[np.newaxis])[0].repeat(len(given), axis=0)
        latents[:, dimension] = given
        return self.decode(latents)

    def effects(self, image: _Pixels) -> npt.NDArray[np.float64]:
        """How much each latent changes the reconstruction of `image`, uint8 (H, W, C): float64 (latent_dim,).

        The mean absolute difference of pixels between the latent at -2 and at 2, in grey levels; near 0 for a latent
        that the decoder ignores.
        """
        mean = self.encode(as_array("image", image)[np.newaxis])[0]
        return np.concatenate(
            [
                self._effects(mean, part)
                for part in np.split(np.arange(self.latent_dim), range(_AT_ONCE, self.latent_dim, _AT_ONCE))
            ]
        )

    def _effects(self, mean: _Floats, dimensions: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Effects of the latents `dimensions`, int64 (D,): float64 (D,). mean: (1, latent_dim).

        Called for a part of the latents at a time: a spatial latent has so many that their images are a gigabyte.
        """
        pairs, rows = mean.repeat(2 * len(dimensions), axis=0), np.arange(len(dimensions))
        pairs[2 * rows, dimensions], pairs[2 * rows + 1, dimensions] = -_FAR, _FAR
        pixels = self.decode(pairs).astype(np.int16)
        effects: npt.NDArray[np.float64] = np.abs(pixels[::2] - pixels[1::2]).mean(axis=(1, 2, 3))
        return effects

    def variations(self, image: _Pixels, num: int, *, spread: float = 1.0, seed: int = 0) -> _Pixels:
        """`num` images like `image`, uint8 (H, W, C): decoded draws from its posterior, uint8 (num, H, W, C).

        spread: factor on the posterior's standard deviation, at least 0. The noise of image i is that of (seed, i) in
        the posterior stream.
        """
        num, factor = check_integer("num", num, 1), check_factor("spread", spread)
        mean, log_var = self.encode(as_array("image", image)[np.newaxis])
        noise = standard_normal(seed, np.arange(num), self.latent_dim, stream=POSTERIOR_STREAM)
        return self.decode(mean + factor * np.exp(log_var / 2) * noise)

    def direction(self, positive: _Pixels, negative: _Pixels) -> npt.NDArray[np.float64]:
        """From the mean latent of one set of images to that of another: float64 (latent_dim,), `positive` - `negative`.

        Both uint8 (N, H, W, C). Latents may be added and subtracted: `move` takes any such sum for a direction.
        """
        towards, away = (self.encode(images)[0].astype(np.float64).mean(0) for images in (positive, negative))
        difference: npt.NDArray[np.float64] = towards - away
        return difference

    def move(self, image: _Pixels, toward: Label | npt.NDArray[Any], amount: float | Sequence[float] = 1.0) -> _Pixels:
        """`image`, uint8 (H, W, C), moved in the latent space: uint8 (A, H, W, C), one for each amount.

        toward: a direction float (latent_dim,), such as `direction` gives, or a class by name or number. The direction
        to a class leads from the prior mean of the image's most likely class to the prior mean of that class; being a
        difference of means, it leaves the style of the image as it is. amount: how far, 0 for the reconstruction and 1
        for the whole way; one, or several. Raises InputError for an unknown class, and for any if there is none.
        """
        start = self.encode(as_array("image", image)[np.newaxis])[0].astype(np.float64)
        way = self._way(start, toward) if isinstance(toward, (int, str)) else as_array("toward", toward, np.float64)
        if way.shape != (self.latent_dim,):
            raise InputError(f"a direction should have the shape ({self.latent_dim},), but has {way.shape}")
        amounts = np.atleast_1d(as_array("amount", amount, np.float64))
        if amounts.ndim != 1 or not len(amounts) or not np.isfinite(amounts).all():
            raise InputError(f"amount should be a finite number or a sequence of them, but is {amount!r}")
        return self.decode(start + amounts[:, np.newaxis] * way)

    def _way(self, z: npt.NDArray[np.float64], label: Label) -> npt.NDArray[np.float64]:
        """From the mean of the most likely class of the latent z, (1, L), to the mean of `label`: (L,)."""
        prior = self.bundle.prior()
        number = class_number(prior, label)
        assert prior is not None  # otherwise there would be no such class
        return prior.class_mean(number) - prior.class_mean(int(prior.class_of(z)[0]))

    def _pair(self, a: _Pixels, b: _Pixels) -> _Pixels:
        """Two images as one batch."""
        both = as_array("a", a), as_array("b", b)
        for image in both:
            self._check_uint8(image[np.newaxis])
        return np.stack(both)

    def _check_uint8(self, images: npt.NDArray[Any]) -> None:
        channels, height, width = self.image_shape
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (height, width, channels):
            raise InputError(
                f"images should be uint8 (N, {height}, {width}, {channels}), but are {images.dtype} {images.shape}"
            )
        if not len(images):
            raise InputError("images should hold at least one image, but is empty")

    def _check_float(self, images: npt.NDArray[Any]) -> None:
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


def _arc(
    start: npt.NDArray[np.float64], stop: npt.NDArray[np.float64], weight: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Points on the arc between two vectors (L,), with interpolated lengths: (steps, L). weight: (steps, 1).

    Spherical linear interpolation of the directions (Shoemake 1985), linear interpolation of the norms.
    """
    norms = float(np.linalg.norm(start)), float(np.linalg.norm(stop))
    line: npt.NDArray[np.float64] = (1 - weight) * start + weight * stop
    if min(norms) == 0:
        return line
    angle = np.arccos(np.clip(start @ stop / (norms[0] * norms[1]), -1, 1))
    if np.sin(angle) < 1e-6:  # parallel: the arc is the line; opposite: the arc is not unique
        return line
    direction = (np.sin((1 - weight) * angle) * start / norms[0] + np.sin(weight * angle) * stop / norms[1]) / np.sin(
        angle
    )
    arc: npt.NDArray[np.float64] = direction * ((1 - weight) * norms[0] + weight * norms[1])
    return arc
