"""Divide a range of images between threads, in blocks that fit into the cache and have fixed boundaries.

An engine may choose the order of its sums by the batch size and by the row in the batch. Image i is therefore always
computed in row i % rows of a batch of exactly `rows` images, whatever range was asked for. On one machine this makes
its pixels bit-identical in every call, shard and resumed job.
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

_FLOATS_IN_BLOCK = 2**18  # 1 MiB. Smaller blocks spend more time in Python, larger ones do not fit into the cache.
_MOST_ROWS = 256
_USES_OF_WEIGHT = 64  # in one call of a large graph; with fewer, reading the weights takes longer than multiplying
_BLOCKS_IN_TASK = 4  # noise is cheapest to draw for about a thousand images at a time
_T = TypeVar("_T")


@dataclass(frozen=True)
class Blocks:
    """Block size for a range of images."""

    rows: int
    """Images in one call of a graph."""

    @classmethod
    def for_images_of(cls, pixels: int, largest_batch: int | None = None) -> Blocks:
        """Blocks for images of `pixels` values each. The size is a power of two and depends on the arguments only.

        largest_batch: of the bundle's manifest.
        """
        fitting = max(1, min(_MOST_ROWS, _FLOATS_IN_BLOCK // pixels, largest_batch or _MOST_ROWS))
        return cls(1 << (fitting.bit_length() - 1))

    @classmethod
    def for_graph(cls, graph: GraphSession, pixels: int, largest_batch: int | None = None) -> Blocks:
        """`for_images_of`, but for a large graph no more images than keep its weights busy.

        A convolution uses each weight for many pixels of one image, so one image is a block. A fully connected layer
        uses it once for each image.
        """
        blocks = cls.for_images_of(pixels, largest_batch)
        if not graph.large:
            return blocks
        uses = max(1, graph.work.multiplications // max(1, graph.work.weights))
        return cls(min(blocks.rows, 1 << (-(-_USES_OF_WEIGHT // uses) - 1).bit_length()))

    @property
    def task(self) -> int:
        """Images that a thread takes at a time."""
        return self.rows * _BLOCKS_IN_TASK

    def tasks(self, first: int, count: int, step: int) -> Iterator[tuple[int, int]]:
        """The range of `count` images from `first` as pairs (start, stop), cut at multiples of `step`.

        step: a multiple of `rows`.
        """
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
        """Run `graph` for the images `first` … `first + count - 1`.

        fill: (start, stop) → the graph's inputs for these images, (stop - start, …) each. take: called with start, stop
        and the outputs for these images; it may overwrite the arrays, but must not keep them, because they are reused.
        Both are called from up to `threads` threads. Fewer images of a large graph than threads are one call, which the
        threads share.
        """
        if graph.large and count < threads:
            take(first, first + count, graph.run(*fill(first, first + count)))
            return

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
    """Run `work` in up to `threads` threads, which share one iterator over `tasks`.

    If `work` raises, its exception is raised here; the other threads finish their current task and stop.
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
    """An iterator that several threads can share."""

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
