"""Cuts a range of images into pieces at fixed boundaries, independent of shard, resume and number of workers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from runtime.sampler import Sampler


@dataclass(frozen=True)
class Ranges:
    """Pieces of a range of indices, cut at multiples of `size`."""

    starts: npt.NDArray[np.int64]
    """Index of the first image of each piece, ascending, int64; a job may have millions of pieces."""
    stop: int
    """Index after the last image of the range."""
    size: int

    @classmethod
    def of(cls, first: int, num: int, size: int) -> Ranges:
        """The images `first` … `first + num - 1`."""
        whole = np.arange(first // size, (first + num - 1) // size + 1, dtype=np.int64) * size
        return cls(np.maximum(whole, first), first + num, size)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, number: int) -> tuple[int, int]:
        """(start, stop) of one piece."""
        start = int(self.starts[number])
        return start, min(self.stop, start - start % self.size + self.size)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return (self[number] for number in range(len(self)))

    @property
    def images(self) -> int:
        """Total number of images in the pieces."""
        return sum(stop - start for start, stop in self)

    def only(self, wanted: npt.NDArray[np.bool_]) -> Ranges:
        """The pieces for which `wanted`, bool (pieces,), is true."""
        return replace(self, starts=self.starts[wanted])


def power_of_two(most_bytes: int, sampler: Sampler) -> int:
    """Largest power of two of images that fits into `most_bytes`, but at least one block of the sampler."""
    height, width, channels = sampler.pixels_shape
    fitting = max(1, most_bytes // (height * width * channels))
    return max(sampler.block, 1 << fitting.bit_length() - 1)
