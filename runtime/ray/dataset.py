"""Seeds to a `ray.data.Dataset` of images, to be filtered, joined or trained from without touching a disk."""

from __future__ import annotations

from pathlib import Path

import ray.data

from runtime.bundle import Bundle
from runtime.errors import InputError
from runtime.ray.ranges import Ranges
from runtime.ray.shipped import ShippedBundle
from runtime.ray.worker import Draw
from runtime.sampler import Sampler

_BYTES_IN_BLOCK = 2**26  # half of what Ray Data takes for the most that a block should hold


def samples(
    bundle: str | Path | Bundle,
    num: int,
    seed: int = 0,
    *,
    first: int = 0,
    temperature: float = 1.0,
    precision: str = "float32",
    threads: int = 1,
    batch_size: int | None = None,
) -> ray.data.Dataset:
    """Images `first` … `first + num - 1` of `seed`: rows `index` int64 and `image` uint8 (H, W, C), in any order.

    The same rows as `Sampler`'s and `vae-sample`'s, whatever the cluster, the number of its workers or the blocks; on
    one machine to the bit, and between machines to one grey level. Nothing is drawn before the Dataset is used.
    threads: CPUs that Ray is to give to each task. batch_size: images in a block; None means about 50 MB of them.

    Raises BundleError where the bundle is missing or damaged, and InputError for a range, seed or temperature that
    cannot be.
    """
    sampler = Sampler(bundle, precision=precision, threads=1)
    sampler.stream(num, seed=seed, first=first, temperature=temperature, batch_size=batch_size)  # refuses bad arguments
    if threads < 1:
        raise InputError(f"threads should be at least 1, but is {threads}")
    size = batch_size or power_of_two(_BYTES_IN_BLOCK, sampler)
    ranges = Ranges.of(first, num, size)
    return drawn(sampler, ranges, seed=seed, temperature=temperature, threads=threads)


def drawn(sampler: Sampler, ranges: Ranges, *, seed: int, temperature: float, threads: int) -> ray.data.Dataset:
    """The images of `ranges`, one block for each piece, drawn in tasks of `threads` CPUs."""
    draw = Draw(ShippedBundle.of(sampler), ranges, sampler.precision, seed, temperature)
    numbers = ray.data.range(len(ranges), override_num_blocks=len(ranges))
    return numbers.map_batches(draw, batch_size=None, num_cpus=threads)


def power_of_two(most_bytes: int, sampler: Sampler) -> int:
    """The largest power of two of images that fit into `most_bytes`, but at least one of the sampler's blocks."""
    height, width, channels = sampler.pixels_shape
    fitting = max(1, most_bytes // (height * width * channels))
    return max(sampler.block, 1 << fitting.bit_length() - 1)
