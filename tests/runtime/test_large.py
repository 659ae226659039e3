"""A large decoder: an image alone is computed by all threads, and the bits are the same as by one."""

from __future__ import annotations

import gc
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from runtime import Reconstructor, Sampler, session
from runtime.blocks import Blocks
from runtime.bundle import Bundle
from runtime.onnx_guard.limits import Work
from runtime.session import GraphSession


@pytest.fixture
def large(spatial_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A convolutional bundle that is taken for a large one."""
    monkeypatch.setattr(session, "LARGE", 1000)
    monkeypatch.setattr(session, "SHARED", 1000)
    return spatial_bundle


def test_what_a_graph_computes_is_read_from_the_file(spatial_bundle: Path) -> None:
    """Each transposed convolution multiplies every input with its 16 taps, the last one 9 at every output."""
    decoder = GraphSession(Bundle.open(spatial_bundle), "decoder")
    assert decoder.work.multiplications == 36 * 4 * 4 * 16 + 144 * 4 * 2 * 16 + 576 * 2 * 9
    assert not decoder.large


def test_the_number_of_threads_changes_no_byte_of_a_large_model(large: Path) -> None:
    one, three = (Sampler(large, threads=threads) for threads in (1, 3))
    assert three.block == 1
    expected = one.sample(40, seed=2)
    assert (three.sample(40, seed=2) == expected).all()
    assert (np.concatenate(list(three.stream(40, seed=2, batch_size=7))) == expected).all()
    assert (three.sample_indices([3, 39], seed=2) == expected[[3, 39]]).all()
    for _ in range(3):  # the threads share a call from the second on
        assert (three.sample(2, seed=2, first=5) == expected[5:7]).all()
    images = expected[:5]
    assert (
        Reconstructor(large, threads=3).reconstruct(images) == Reconstructor(large, threads=1).reconstruct(images)
    ).all()


def test_a_block_of_a_large_model_keeps_its_weights_busy() -> None:
    class Graph:
        large = True

        def __init__(self, multiplications: int, weights: int) -> None:
            self.work = Work(multiplications, weights)

    rows = [Blocks.for_graph(Graph(2**30, weights), 784).rows for weights in (2**20, 2**26, 2**27, 2**30)]  # type: ignore[arg-type]
    assert rows == [1, 4, 8, 64]
    assert Blocks.for_graph(Graph(2**30, 2**30), 3 * 256 * 256).rows == 1  # type: ignore[arg-type]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")  # the test forks on purpose
def test_a_large_model_draws_in_a_forked_child_and_can_be_closed_there(large: Path) -> None:
    """Without the session's threads; its end would wait for them for ever."""
    sampler = Sampler(large, threads=3)
    sampler.sample(2)
    expected = sampler.sample(2, seed=3)
    assert len(session._with_threads)
    child = os.fork()
    if child == 0:
        same = (sampler.sample(2, seed=3) == expected).all()
        del sampler
        gc.collect()
        os._exit(0 if same else 1)
    deadline = time.monotonic() + 60
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    if ended[0] == 0:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert ended == (child, 0)
