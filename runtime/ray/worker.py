"""What a Ray worker does: index ranges in, rows (index, image) out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import ray

from runtime.ray.ranges import Ranges
from runtime.ray.shipped import ShippedBundle
from runtime.sampler import Sampler

_loaded: dict[tuple[str, str, int], Sampler] = {}


@dataclass(frozen=True)
class Draw:
    """Numbers of ranges → the images of these ranges, one batch of rows for each.

    It runs in stateless tasks, which Ray repeats elsewhere when a worker dies, and which it can fuse with the writing,
    so that images that go to the disk never pass through the object store. The Sampler stays in the worker's process,
    where the next task finds it.
    """

    bundle: ShippedBundle
    ranges: Ranges
    precision: str
    seed: int
    temperature: float

    def __call__(self, batch: dict[str, npt.NDArray[np.int64]]) -> Iterator[dict[str, npt.NDArray[Any]]]:
        """batch: `id`, the numbers of ranges, int64 (N,). Yields `index` int64 (M,) and `image` uint8 (M, H, W, C)."""
        sampler = loaded_sampler(self.bundle, self.precision)
        for number in batch["id"]:
            start, stop = self.ranges[number]
            yield {
                "index": np.arange(stop - start, dtype=np.int64) + np.int64(start),
                "image": _draw(sampler, start, stop, self.seed, self.temperature),
            }


def loaded_sampler(bundle: ShippedBundle, precision: str) -> Sampler:
    """This process's Sampler, with as many threads as Ray gives CPUs to the running task."""
    key = bundle.manifest_sha256, precision, cpus_given()
    if key not in _loaded:
        _loaded.clear()  # a worker serves one job after another, and a decoder may be large
        _loaded[key] = Sampler(bundle, precision=precision, threads=key[2])
    return _loaded[key]


def cpus_given() -> int:
    """CPUs that Ray counts as this task's, at least 1."""
    resources: dict[str, float] = ray.get_runtime_context().get_assigned_resources()  # type: ignore[no-untyped-call]
    return max(1, int(resources.get("CPU", 1)))


def _draw(sampler: Sampler, start: int, stop: int, seed: int, temperature: float) -> npt.NDArray[np.uint8]:
    """The images `start` … `stop - 1`, from whole blocks at their places, and so to the bit as `Sampler.stream`'s."""
    low, high = start - start % sampler.block, stop + -stop % sampler.block
    return sampler.sample(high - low, seed=seed, first=low, temperature=temperature)[start - low : stop - low]
