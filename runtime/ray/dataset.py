"""Draws images as a `ray.data.Dataset`, to filter, join or train on without writing files."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import ray
import ray.data

from runtime.bundle import Bundle
from runtime.errors import InputError
from runtime.labels import InTurn, Label
from runtime.ray.ranges import Ranges, power_of_two
from runtime.ray.shipped import ShippedBundle
from runtime.ray.worker import Draw
from runtime.sampler import Sampler

_BYTES_IN_BLOCK = 2**26  # half of Ray Data's default maximum block size


def samples(
    bundle: str | Path | Bundle,
    num: int,
    seed: int = 0,
    *,
    first: int = 0,
    temperature: float = 1.0,
    label: Label | InTurn | None = None,
    precision: str = "float32",
    threads: int = 1,
    batch_size: int | None = None,
) -> ray.data.Dataset:
    """Images `first` … `first + num - 1` of `seed`: rows `index` int64 and `image` uint8 (H, W, C), in any order.

    Where the prior has classes, rows have `label` int64 too, the class of the image. label: a class to draw, by name or
    number, or several in turn.

    The same rows as `Sampler`'s and `vae-sample`'s, whatever the cluster, the number of its workers or the blocks; on
    one machine to the bit, and between machines to one grey level. Nothing is drawn before the Dataset is used.
    threads: CPUs that Ray is to give to each task. batch_size: images in a block; None means about 50 MB of them.

    Raises BundleError if the bundle is missing or damaged, and InputError for an invalid range, seed or temperature.
    """
    sampler = Sampler(bundle, precision=precision, threads=1)
    # Refuses bad arguments here, not in a worker.
    sampler.stream(num, seed=seed, first=first, temperature=temperature, label=label, batch_size=batch_size)
    if threads < 1:
        raise InputError(f"threads should be at least 1, but is {threads}")
    ranges = Ranges.of(first, num, batch_size or power_of_two(_BYTES_IN_BLOCK, sampler))
    draw = Draw(ray.put(ShippedBundle.of(sampler)), precision, seed, temperature, label)
    return numbered(ranges).map_batches(draw, batch_size=None, num_cpus=threads)


def numbered(ranges: Ranges) -> ray.data.Dataset:
    """One block per piece, with int64 columns `start`, the index of its first image, and `images`, their number."""
    return ray.data.from_arrow([pa.table({"start": [start], "images": [stop - start]}) for start, stop in ranges])
