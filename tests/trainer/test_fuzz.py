"""Checkpoints and data files with anything anywhere: read, or refused by an error of ours."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import VaeRuntimeError
from tests.runtime.test_hostile import damaged, fuzz, places, replaced
from trainer.checkpoint import load_checkpoint
from trainer.data.idx import load_idx_file
from trainer.data.numpy_files import load_arrays
from trainer.errors import CheckpointError, DataError
from trainer.training.run_folder import Run

values = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(
        [-1, 0, 1, 3, 2**31, 2**62, 10**30, float("nan"), float("inf"), "", "x", "\x1b[31m", [], {}, (), [[]]]
    ),
    st.sampled_from([(), (0,), (1,), (3,), (2, 3), (1, 12, 12, 1)]).map(torch.zeros),
    st.sampled_from([torch.int64, torch.uint8, torch.bool, torch.float64]).map(lambda kind: torch.ones(4, dtype=kind)),
    st.just(torch.ones(1)).map(lambda one: one.expand(10**9)),
)


@fuzz
@given(data=st.data())
def test_a_checkpoint_with_anything_anywhere_loads_or_is_refused(
    tiny_run: Run, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content: Any = torch.load(tiny_run.best, weights_only=True)
    for _ in range(data.draw(st.integers(1, 3))):
        content = replaced(content, data.draw(st.sampled_from(places(content))), data.draw(values))
    path = tmp_path_factory.mktemp("fuzz") / "a.pt"
    torch.save(content, path)
    try:
        load_checkpoint(path).build_model()
    except CheckpointError as error:
        assert str(path) in str(error)  # noqa: PT017 (it may also succeed)


@fuzz
@given(data=st.data())
def test_a_damaged_checkpoint_loads_or_is_refused(
    tiny_run: Run, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "a.pt"
    path.write_bytes(damaged(data, tiny_run.best.read_bytes()))
    try:
        load_checkpoint(path)
    except CheckpointError as error:
        assert str(path) in str(error)  # noqa: PT017


def files() -> dict[str, bytes]:
    """One of each kind of data file, of 12 images."""
    images = np.random.default_rng(0).integers(0, 256, (12, 4, 4), np.uint8)
    made = {}
    writers: dict[str, Callable[[io.BytesIO], None]] = {
        "a.npy": lambda file: np.save(file, images),
        "a.npz": lambda file: np.savez(file, images=images, labels=np.arange(12)),
        "b.npz": lambda file: np.savez_compressed(file, train_images=images, test_images=images),
    }
    for name, write in writers.items():
        buffer = io.BytesIO()
        write(buffer)
        made[name] = buffer.getvalue()
    made["a-idx3-ubyte"] = bytes([0, 0, 8, 3]) + np.array([12, 4, 4], ">i4").tobytes() + images.tobytes()
    made["a-idx3-ubyte.gz"] = gzip.compress(made["a-idx3-ubyte"])
    return made


@pytest.mark.parametrize("name", files())
@fuzz
@given(data=st.data())
def test_a_damaged_data_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / name
    path.write_bytes(damaged(data, files()[name]))
    try:
        load_idx_file(path) if "idx" in name else load_arrays(path)
    except (DataError, VaeRuntimeError) as error:
        assert str(error)  # noqa: PT017
