"""Divide a long batch between threads, in blocks that stay in the cache and always lie at the same places.

Image i of a range is always computed in row i % rows of a call of exactly `rows` images, whatever the range, so that on
one machine it comes out the same to the bit: an engine may order its sums by the size of the batch and the place in it,
and there is no other size or place. That is what lets a shard, or a job that was interrupted, end in the same bytes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any, TypeVar

import numpy.typing as npt

from runtime.session import GraphSession

_FLOATS_IN_BLOCK = 2**18  # 1 MiB: of MNIST, 64 or 128 images a call cost more Python, and 512 leave the cache
_MOST_ROWS = 256
_BLOCKS_IN_TASK = 4  # noise is cheaper a thousand at a time
_T = TypeVar("_T")


@dataclass(frozen=True)
class Blocks:
    """How a range of images is cut up."""

    rows: int
    """Images in one call of a graph."""

    @classmethod
    def for_images_of(cls, pixels: int, largest_batch: int | None = None) -> Blocks:
        """Blocks for images of `pixels` numbers each; the size is a power of two and depends on nothing else.

        largest_batch: of the bundle's manifest.
        """
        fitting = max(1, min(_MOST_ROWS, _FLOATS_IN_BLOCK // pixels, largest_batch or _MOST_ROWS))
        return cls(1 << (fitting.bit_length() - 1))

    @property
    def task(self) -> int:
        """Images that a thread takes at a time."""
        return self.rows * _BLOCKS_IN_TASK

    def tasks(self, first: int, count: int, step: int) -> Iterator[tuple[int, int]]:
        """The range from `first` as pairs (start, stop), cut at multiples of `step`, which is a multiple of `rows`."""
        stop = first + count
        return pairwise(chain((first,), range(first - first % step + step, stop, step), (stop,)))

    def run(
        self,
        graph: GraphSession,
        first: int,
        count: int,
        threads: int,
        fill: Callable[[int, int], Sequence[npt.NDArray[Any]]],
        take: Callable[[int, int, Sequence[npt.NDArray[Any]]], None],
    ) -> None:
        """Send the images `first` … `first + count - 1` through `graph`.

        fill: start, stop → the inputs of these images, (stop - start, …) each. take: start, stop and the outputs of
        these images, arrays that it may overwrite but not keep. Both are called from `threads` threads.
        """

        def work(tasks: Iterator[tuple[int, int]]) -> None:
            bound = graph.bind(self.rows)
            for start, stop in tasks:
                given = fill(start, stop)
                for base in range(start - start % self.rows, stop, self.rows):
                    low, high = max(start, base), min(stop, base + self.rows)
                    for array, values in zip(bound.inputs, given, strict=True):
                        array[low - base : high - base] = values[low - start : high - start]
                    bound.run()
                    take(low, high, [array[low - base : high - base] for array in bound.outputs])

        step = self.task if threads == 1 or count >= 4 * threads * self.task else self.rows
        in_threads(work, list(self.tasks(first, count, step)), threads)


def in_threads(work: Callable[[Iterator[_T]], None], tasks: Sequence[_T], threads: int) -> None:
    """Run `work` in up to `threads` threads; each takes from the iterator that it is given until no task is left.

    Raises what `work` raises; the other threads then stop after the task that they are at.
    """
    threads = min(threads, len(tasks))
    shared = _Shared(tasks)
    if threads <= 1:
        work(shared)
        return

    def work_or_stop() -> None:
        try:
            work(shared)
        except BaseException:
            shared.stop()
            raise

    with ThreadPoolExecutor(threads) as pool:
        running = [pool.submit(work_or_stop) for _ in range(threads)]
        try:
            for future in running:
                future.result()
        finally:
            shared.stop()


class _Shared(Iterator[_T]):
    """One iterator for many threads."""

    def __init__(self, items: Sequence[_T]) -> None:
        self._items = iter(items)
        self._lock = threading.Lock()
        self._stopped = False

    def __next__(self) -> _T:
        with self._lock:
            if self._stopped:
                raise StopIteration
            return next(self._items)

    def stop(self) -> None:
        self._stopped = True
