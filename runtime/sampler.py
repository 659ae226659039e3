"""Seeds to images: the generator, without PyTorch."""

from __future__ import annotations

import operator
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from runtime.arguments import (
    check_factor,
    check_indices,
    check_integer,
    check_latents,
    check_precision,
    check_threads,
    empty_pixels,
)
from runtime.blocks import Blocks
from runtime.bundle import Bundle, as_bundle
from runtime.errors import InputError
from runtime.images.pixels import round_into
from runtime.labels import ClassNumbers, Label, Labels, class_number, class_numbers
from runtime.prior import ANY_CLASS, prior_latents
from runtime.providers import check_providers
from runtime.session import GraphSession

if TYPE_CHECKING:
    from PIL.Image import Image

_Latents = Callable[[int, int], npt.NDArray[np.float32]]
"""start, stop → latents float32 (stop - start, latent_dim)."""


class Sampler:
    """Draws images from a bundle's decoder.

    Sample `index` of `seed` is the same latent to the bit, and the same image to one grey level, whatever the batch,
    the order, the number of threads or the machine. On one machine, `stream` gives the same images to the bit wherever
    it begins and whatever its batches. May be used from several threads at once, and in a forked child.
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
        """bundle: a folder made by `vae-export`, or an open `Bundle`. precision: float32, int8 or fp16, of which the
        bundle must hold the files. threads: None means one for each CPU that this process may use. public_key: PEM file
        of the key that must have signed the bundle; None asks for no signature. providers: execution providers of
        onnxruntime by name, such as "openvino", the preferred one first; None means the CPU. What they cannot compute
        is computed by the CPU only if "cpu" is among them.

        Raises BundleError where the bundle is missing or damaged, InputError for a provider that is not installed, and
        EngineError for one that does not start or cannot run the decoder.
        """
        self.bundle = as_bundle(bundle, public_key)
        self.precision = check_precision(precision)
        self.threads = check_threads(threads)
        self.providers = check_providers(providers)
        self._decoder = GraphSession(
            self.bundle, "decoder", precision=precision, threads_of_large=self.threads, providers=self.providers
        )
        pixels, largest_batch = int(np.prod(self.image_shape)), self.bundle.manifest.largest_batch
        self._blocks = Blocks.for_graph(self._decoder, pixels, largest_batch)
        self._prior = self.bundle.prior()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that `label` may ask for; none where the training images had no labels."""
        return () if self._prior is None else self._prior.classes

    def class_number(self, label: Label) -> int:
        """Number of a class given by its name or number. Raises InputError where there is no such class."""
        return class_number(self._prior, label)

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
        """Name of the decoder's file in the bundle."""
        return self._decoder.name

    @property
    def block(self) -> int:
        """Images that `stream` computes at a time; blocks begin at multiples of this index."""
        return self._blocks.rows

    def sample(
        self, num: int, *, seed: int = 0, first: int = 0, temperature: float = 1.0, label: Labels = None
    ) -> npt.NDArray[np.uint8]:
        """Images `first` … `first + num - 1` of `seed`: uint8 (num, H, W, C).

        num: at least 1; seeds and indices: 0 … 2**63 - 1. temperature: factor from 0 to 1e30 on the noise, which is
        centred on the mean of a mixture component, or on 0; below 1 gives more typical images, above 1 more unusual
        ones. label: a class by name or number, one for each image, or `InTurn`; None for any.
        Raises InputError for a value out of range, an unknown class, and any class where the bundle has none.
        """
        first, num = _check_range(first, num)
        if num < self._blocks.rows:
            return self.sample_indices(_indices(first, first + num), seed=seed, temperature=temperature, label=label)
        return self._draw(
            first, self._empty(num), self._range_latents(first, num, seed, temperature, label), self.threads
        )

    def show(self, num: int = 64, *, seed: int = 0, columns: int = 8, scale: int = 3, label: Labels = None) -> Image:
        """Samples 0 … num - 1 of `seed` as one Pillow image, `columns` in a row; a notebook displays it.

        scale: side of the square that each image pixel becomes, in pixels. label: as for `sample`.
        """
        from runtime.images.png import to_pillow
        from runtime.images.sheet import grid

        return to_pillow(grid(self.sample(num, seed=seed, label=label), min(num, columns), scale=scale))

    def sample_indices(
        self, indices: npt.ArrayLike, *, seed: int = 0, temperature: float = 1.0, label: Labels = None
    ) -> npt.NDArray[np.uint8]:
        """Images of any indices, integers (N,), in their order: uint8 (N, H, W, C). Arguments as for `sample`."""
        chosen = check_indices(indices)
        if len(chosen) < self._blocks.rows:  # one call, of just these: a whole block takes longer than a few images
            z = self.latents(chosen, seed=seed, temperature=temperature, label=label)
            pixels = self._empty(len(z))
            if len(z):
                round_into(pixels, self._decoder.run(z)[0])
            return pixels
        numbers = class_numbers(self._prior, label, len(chosen))

        def part(start: int, stop: int) -> npt.NDArray[np.float32]:
            return self._latents(chosen[start:stop], seed, temperature, numbers, slice(start, stop))

        latents = _in_turns(part)
        return self._draw(0, self._empty(len(chosen)), latents, self.threads)

    def stream(
        self,
        num: int,
        *,
        seed: int = 0,
        first: int = 0,
        temperature: float = 1.0,
        label: Labels = None,
        batch_size: int | None = None,
    ) -> Iterator[npt.NDArray[np.uint8]]:
        """The same images as `sample`, in batches: uint8 (batch_size, H, W, C), the last one shorter.

        The next batches are computed while the caller uses this one, and memory does not grow with `num`. batch_size:
        None means whatever comes out fastest, in batches of unequal sizes. Raises what `sample` raises, at the call
        rather than at the first batch.
        """
        first, num = _check_range(first, num)
        if batch_size is not None:
            batch_size = check_integer("batch_size", batch_size, 1)
        self.latents([], seed=seed, temperature=temperature)  # refuses a bad seed or temperature here, not at first use
        pieces = self._pieces(first, num, self._range_latents(first, num, seed, temperature, label))
        return pieces if batch_size is None else _recut(pieces, num, batch_size)

    def latents(
        self, indices: npt.ArrayLike, *, seed: int = 0, temperature: float = 1.0, label: Labels = None
    ) -> npt.NDArray[np.float32]:
        """Latents of any indices from the bundle's prior: float32 (N, latent_dim). Arguments as for `sample`."""
        chosen = check_indices(indices)
        numbers = class_numbers(self._prior, label, len(chosen))
        return self._latents(chosen, seed, temperature, numbers, slice(None))

    def labels(self, indices: npt.ArrayLike, *, seed: int = 0, label: Labels = None) -> npt.NDArray[np.int64]:
        """Class of each sample: int64 (N,), numbers of `classes`, -1 where there are none. label: as for `sample`."""
        chosen = check_indices(indices)
        numbers = class_numbers(self._prior, label, len(chosen))(chosen, slice(None))
        if self._prior is None:
            return np.full(len(chosen), ANY_CLASS)
        return self._prior.labels(seed, chosen, numbers)

    def decode(self, z: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Latents float32 (N, latent_dim) → images float32 (N, C, H, W) in [0, 1]. `Reconstructor.decode` gives uint8.

        Raises InputError for another shape, NaN and infinity.
        """
        latents = np.ascontiguousarray(check_latents(z, self.latent_dim))
        rows = self.bundle.manifest.largest_batch or len(latents) or 1
        images = [self._decoder.run(latents[start : start + rows])[0] for start in range(0, max(1, len(latents)), rows)]
        return images[0] if len(images) == 1 else np.concatenate(images)

    def _pieces(self, first: int, num: int, latents: _Latents) -> Iterator[npt.NDArray[np.uint8]]:
        """The images of a range in order, in pieces of one task, each computed by one thread.

        One task more than there are threads is submitted, so that no thread waits for the caller. The memory of a piece
        is allocated here, in the thread that also frees it: allocated in the workers, it would be scattered over as
        many heaps as there are threads, and the peak would creep up with the number of images.
        """
        tasks = iter(self._blocks.tasks(first, num, self._blocks.task))
        with ThreadPoolExecutor(self.threads) as pool:

            def submit(start: int, stop: int) -> Future[npt.NDArray[np.uint8]]:
                return pool.submit(self._draw, start, self._empty(stop - start), latents, 1)

            under_way = deque(submit(*task) for task in islice(tasks, self.threads + 1))
            try:
                while under_way:
                    pixels = under_way.popleft().result()
                    under_way.extend(submit(*task) for task in islice(tasks, 1))
                    yield pixels
            finally:
                for future in under_way:  # where the caller goes no further
                    future.cancel()

    def _range_latents(self, first: int, num: int, seed: int, temperature: float, label: Labels) -> _Latents:
        numbers = class_numbers(self._prior, label, num)

        def part(start: int, stop: int) -> npt.NDArray[np.float32]:
            return self._latents(_indices(start, stop), seed, temperature, numbers, slice(start - first, stop - first))

        return _in_turns(part)

    def _empty(self, num: int) -> npt.NDArray[np.uint8]:
        return empty_pixels(num, self.pixels_shape)

    def _draw(
        self, first: int, pixels: npt.NDArray[np.uint8], latents: _Latents, threads: int
    ) -> npt.NDArray[np.uint8]:
        """Fill `pixels` (N, H, W, C) with the decoded `latents` of `first` … `first + N - 1`, and return it."""

        def fill(start: int, stop: int) -> Sequence[npt.NDArray[Any]]:
            return [latents(start, stop)]

        def take(start: int, stop: int, outputs: Sequence[npt.NDArray[Any]]) -> None:
            round_into(pixels[start - first : stop - first], outputs[0])

        self._blocks.run(self._decoder, first, len(pixels), threads, fill, take)
        return pixels

    def _latents(
        self, indices: npt.NDArray[Any], seed: int, temperature: float, numbers: ClassNumbers, which: slice
    ) -> npt.NDArray[np.float32]:
        check_factor("temperature", temperature)
        labels = numbers(indices, which)
        return prior_latents(self._prior, seed, indices, self.latent_dim, labels, temperature)


def _in_turns(latents: _Latents) -> _Latents:
    """`latents` under a lock.

    Noise is many short NumPy calls; two threads in them at once contend for the GIL, which costs both of them more than
    waiting does.
    """
    lock = threading.Lock()

    def in_turns(start: int, stop: int) -> npt.NDArray[np.float32]:
        with lock:
            return latents(start, stop)

    return in_turns


def _check_range(first: int, num: int) -> tuple[int, int]:
    """`first` and `num` as plain integers, checked to be a valid range of indices."""
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


def _indices(start: int, stop: int) -> npt.NDArray[np.uint64]:
    """The range as an array. np.arange itself cannot end at 2**63."""
    return np.arange(stop - start, dtype=np.uint64) + np.uint64(start)


def _recut(pieces: Iterator[npt.NDArray[np.uint8]], num: int, batch_size: int) -> Iterator[npt.NDArray[np.uint8]]:
    """The `num` images of `pieces` in batches of `batch_size`."""
    piece = next(pieces)
    used = 0
    for start in range(0, num, batch_size):
        batch = np.empty((min(batch_size, num - start), *piece.shape[1:]), np.uint8)
        filled = 0
        while filled < len(batch):
            if used == len(piece):
                piece, used = next(pieces), 0
            count = min(len(batch) - filled, len(piece) - used)
            batch[filled : filled + count] = piece[used : used + count]
            filled, used = filled + count, used + count
        yield batch
