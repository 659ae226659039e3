"""Data sets in IDX files, and resizing of data sets."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from trainer.data.dataset import ImageData
from trainer.data.load import load
from trainer.data.resize import reshape_data
from trainer.errors import DataError


def _write_idx(path: Path, array: np.ndarray) -> None:
    header = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    content = header + array.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def _write_family(folder: Path, suffix: str = "") -> None:
    random = np.random.default_rng(0)
    for split, count in (("train", 12), ("t10k", 4)):
        _write_idx(folder / f"{split}-images-idx3-ubyte{suffix}", random.integers(0, 256, (count, 5, 4), np.uint8))
        _write_idx(folder / f"{split}-labels-idx1-ubyte{suffix}", (np.arange(count) % 10).astype(np.uint8))


@pytest.mark.parametrize(("name", "folder"), [("fashion-mnist", "FashionMNIST"), ("kmnist", "KMNIST")])
def test_relatives_of_mnist_load_by_name_with_their_class_names(tmp_path: Path, name: str, folder: str) -> None:
    _write_family(tmp_path / folder / "raw", ".gz")
    data = load(name, tmp_path)
    assert data.name == name
    assert data.train_images.shape == (12, 5, 4, 1)
    assert data.class_names is not None
    assert len(data.class_names) == 10


def test_folder_of_idx_files_keeps_its_splits(tmp_path: Path) -> None:
    _write_family(tmp_path / "mine")
    data = load(str(tmp_path / "mine"), tmp_path)
    assert (data.name, len(data.train_images), len(data.test_images)) == ("mine", 12, 4)


def test_single_idx_file_holds_out_one_in_six_and_finds_its_labels(tmp_path: Path) -> None:
    images = np.arange(12, dtype=np.uint8)[:, None, None].repeat(3, 1).repeat(3, 2)
    _write_idx(tmp_path / "my-images-idx3-ubyte", images)
    assert load(str(tmp_path / "my-images-idx3-ubyte"), tmp_path).train_labels is None
    _write_idx(tmp_path / "my-labels-idx1-ubyte", np.arange(12, dtype=np.uint8))
    data = load(str(tmp_path / "my-images-idx3-ubyte"), tmp_path)
    assert data.train_labels is not None
    assert len(data.test_images) == 2
    assert data.train_labels.tolist() == data.train_images[:, 0, 0, 0].tolist()
    _write_idx(tmp_path / "my-labels-idx1-ubyte", np.arange(11, dtype=np.uint8))
    with pytest.raises(DataError, match=r"12 images but labels of shape \(11,\)"):
        load(str(tmp_path / "my-images-idx3-ubyte"), tmp_path)


def test_unknown_name_lists_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unknown data set 'minst'; expected mnist, fashion-mnist, kmnist, glyphs"):
        load("minst", tmp_path)


def test_reshaping_takes_the_middle_square_and_averages(blobs: ImageData) -> None:
    wide = np.zeros((4, 4, 8, 1), np.uint8)
    wide[:, :, 2:6] = 100
    wide[:, :, 2:4] = 200
    data = ImageData("wide", wide, wide, None, None)
    small = reshape_data(data, 2, 3)
    assert small.image_shape == (3, 2, 2)
    assert np.abs(small.train_images[0, 0, :, 0].astype(int) - [200, 100]).max() <= 20
    assert reshape_data(blobs, 12, 1) is blobs


def test_colour_becomes_luminance() -> None:
    green = np.zeros((4, 2, 2, 3), np.uint8)
    green[:2, ..., 1] = 100
    gray = reshape_data(ImageData("green", green, green, None, None), None, 1)
    assert gray.image_shape == (1, 2, 2)
    assert abs(int(gray.train_images[0, 0, 0, 0]) - 58.7) <= 1
