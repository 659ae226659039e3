"""Aligned blocks: image i is bit-identical for every start, batch size and number of threads of a range."""

import os
import threading
import tracemalloc
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import pytest

from runtime.blocks import Blocks, in_threads
from runtime.errors import InputError
from runtime.sampler import Sampler


@pytest.fixture
def sampler(bundle: Path) -> Sampler:
    return Sampler(bundle, threads=2)


@pytest.mark.parametrize(("first", "num"), [(0, 1), (1, 700), (127, 2), (128, 128), (300, 5000)])
@pytest.mark.parametrize("batch_size", [None, 1000, 37])
def test_a_stream_has_the_same_bytes_for_every_start_and_batch_size(
    sampler: Sampler, first: int, num: int, batch_size: int | None
) -> None:
    whole = np.concatenate(list(sampler.stream(5300, seed=5)))
    batches = list(sampler.stream(num, seed=5, first=first, batch_size=batch_size))
    assert (np.concatenate(batches) == whole[first : first + num]).all()
    if batch_size is not None:
        assert {len(batch) for batch in batches[:-1]} <= {batch_size}


def test_the_number_of_threads_changes_no_byte(bundle: Path) -> None:
    one, three = (Sampler(bundle, threads=threads).sample(6000, seed=2) for threads in (1, 3))
    assert (one == three).all()


def test_sample_stream_and_chosen_indices_agree(sampler: Sampler) -> None:
    """Few images take a different path than many; on one machine, both are bit-identical."""
    whole = np.concatenate(list(sampler.stream(600, seed=1)))
    assert (sampler.sample(600, seed=1) == whole).all()
    assert all((sampler.sample(1, seed=1, first=i)[0] == whole[i]).all() for i in range(0, 600, 61))
    chosen = np.random.default_rng(0).permutation(600)
    assert (sampler.sample_indices(chosen, seed=1) == whole[chosen]).all()
    assert (sampler.sample_indices(chosen[:9], seed=1) == whole[chosen[:9]]).all()


class RecordingGraph:
    """A fake graph that adds the row number to its input and records the batches that it is called with."""

    large = False

    def __init__(self) -> None:
        self.inputs: list[np.ndarray] = []
        self.outputs: list[np.ndarray] = []
        self.calls: list[int] = []

    def bind(self, rows: int) -> "RecordingGraph":
        self.inputs, self.outputs = [np.zeros((rows, 1))], [np.zeros((rows, 1))]
        return self

    def run(self) -> None:
        self.calls.append(len(self.inputs[0]))
        self.outputs[0][:] = self.inputs[0] + np.arange(len(self.inputs[0]))[:, None] / 1000


@pytest.mark.parametrize(("first", "num"), [(0, 5), (3, 1), (6, 30), (8, 8)])
def test_image_i_is_always_row_i_modulo_the_block_of_a_whole_block(first: int, num: int) -> None:
    """This makes the bytes independent of the range on every engine, not only on those that sum in a fixed order."""
    graph = RecordingGraph()
    found: dict[int, float] = {}

    def take(start: int, stop: int, outputs: list[np.ndarray]) -> None:
        found.update(zip(range(start, stop), outputs[0][:, 0].copy(), strict=True))

    Blocks(8).run(graph, first, num, 1, lambda a, b: [np.arange(a, b)[:, None]], take)  # type: ignore[arg-type]
    assert set(graph.calls) == {8}
    assert found == {i: pytest.approx(i + i % 8 / 1000) for i in range(first, first + num)}


def test_blocks_of_large_images_are_small() -> None:
    assert Blocks.for_images_of(784).rows == 256
    assert Blocks.for_images_of(3 * 256 * 256).rows == 1
    assert Blocks.for_images_of(10**9).rows == 1


def test_an_error_in_one_thread_reaches_the_caller_and_stops_the_others() -> None:
    seen: list[int] = []

    def work(tasks: Iterator[int]) -> None:
        for task in tasks:
            seen.append(task)
            if task == 3:
                raise ValueError("task 3")
            threading.Event().wait(0.002)

    with pytest.raises(ValueError, match="task 3"):
        in_threads(work, range(10_000), 2)
    assert len(seen) < 1000


def test_a_caller_that_stops_early_leaves_no_threads(sampler: Sampler) -> None:
    before = threading.active_count()
    stream = sampler.stream(10**9)
    next(stream)
    assert isinstance(stream, Generator)
    stream.close()
    assert threading.active_count() == before


def test_memory_does_not_grow_with_the_number_of_images(sampler: Sampler) -> None:
    tracemalloc.start()
    total = sum(pixels.nbytes for pixels in sampler.stream(100_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 100_000 * 144
    assert peak < total / 4


def test_several_threads_may_share_a_sampler(sampler: Sampler) -> None:
    expected = sampler.sample(900, seed=3)
    results: list[bool] = []
    threads = [
        threading.Thread(target=lambda: results.append((sampler.sample(900, seed=3) == expected).all()))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")  # the test forks on purpose
def test_a_sampler_works_in_a_forked_child(sampler: Sampler) -> None:
    expected = sampler.sample(3000, seed=3)
    child = os.fork()
    if child == 0:
        os._exit(0 if (sampler.sample(3000, seed=3) == expected).all() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num": 0}, "num should be at least 1"),
        ({"num": 1.5}, "should be integers"),
        ({"num": 1, "first": -1}, "first should be at least 0"),
        ({"num": 2, "first": 2**63 - 1}, r"at most 2\*\*63"),
        ({"num": 1, "batch_size": 0}, "batch_size should be at least 1"),
        ({"num": 1, "temperature": float("nan")}, "temperature should be"),
        ({"num": 1, "seed": -1}, "seed should be"),
    ],
)
def test_a_stream_refuses_bad_arguments_when_it_is_made(
    sampler: Sampler, arguments: dict[str, float], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        sampler.stream(**arguments)  # type: ignore[arg-type]


def test_the_largest_index_can_be_drawn(sampler: Sampler) -> None:
    assert sampler.sample(1, first=2**63 - 1).shape == (1, 12, 12, 1)
    assert sum(map(len, sampler.stream(200, first=2**63 - 200))) == 200
