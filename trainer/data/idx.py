"""Data sets in the IDX format of MNIST (big-endian header, then bytes): the MNIST family, or a user's own file."""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import numpy.typing as npt

from runtime.files.regular import open_regular
from runtime.machine.memory import shortage
from trainer.data.dataset import ImageData, as_uint8_images
from trainer.errors import DataError

if TYPE_CHECKING:
    from torchvision import datasets

_UNSIGNED_BYTE = 0x08
_MOST_DIMENSIONS = 4
_COPIES = 2.2  # as of NumPy files: the array, and the splits taken from it
_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_FAMILY = {
    "mnist": ("MNIST", None),
    "fashion-mnist": (
        "FashionMNIST",
        ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"),
    ),
    "kmnist": ("KMNIST", ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")),
}
FAMILY_NAMES = tuple(_FAMILY)
"""Data sets that torchvision can download in MNIST's format."""


def load_family(name: str, data_dir: Path) -> ImageData:
    """mnist, fashion-mnist or kmnist from torchvision's folder below `data_dir`; downloaded if missing.

    Raises DownloadError if the download fails, DataError if a file is damaged.
    """
    folder, class_names = _FAMILY[name]
    raw = data_dir / folder / "raw"
    if not is_idx_folder(raw):
        from torchvision import datasets

        from trainer.data.download import download

        kind: type[datasets.MNIST] = getattr(datasets, folder)
        download(kind, data_dir)
    return load_idx_folder(raw, name, class_names)


def is_idx_folder(folder: Path) -> bool:
    """Whether all four files exist, plain or gzipped."""
    return all(_find(folder / name) for name in _FILES)


def load_idx_folder(folder: Path, name: str, class_names: tuple[str, ...] | None = None) -> ImageData:
    """Read `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and their `t10k-…` counterparts, plain or gzipped."""
    arrays = []
    for file in _FILES:
        path = _find(folder / file)
        if path is None:
            raise DataError(f"{folder / file}: missing")
        arrays.append(read_idx(path))
    train_images, train_labels, test_images, test_labels = arrays
    return ImageData(
        name,
        as_uint8_images(train_images, f"{folder}: training images"),
        as_uint8_images(test_images, f"{folder}: test images"),
        train_labels.astype(np.int64),
        test_labels.astype(np.int64),
        class_names=class_names,
    )


def load_idx_file(path: Path) -> ImageData:
    """One IDX file of images, uint8 (N, H, W) or (N, H, W, 1 or 3); one in six is held out for testing.

    Labels are read from the same folder, from the file named with labels-idx1 instead of images-idx3, if it exists.
    """
    images = as_uint8_images(read_idx(path), str(path))
    labels: npt.NDArray[np.int64] | None = None
    labels_path = path.with_name(path.name.replace("images-idx3", "labels-idx1"))
    if labels_path != path and labels_path.exists():
        labels = read_idx(labels_path).astype(np.int64)
    return ImageData.hold_out(path.name.removesuffix(".gz"), images, labels)


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """An IDX file of unsigned bytes, plain or gzipped (`.gz`), as the array that its header describes.

    Raises DataError if the file is missing, is not an IDX file of unsigned bytes, its length does not match its
    header, or it does not fit into memory; of a gzipped file no more is unpacked than the header says.
    """
    try:
        with open_regular(path) as file:
            if path.suffix == ".gz":
                with gzip.GzipFile(fileobj=file) as unpacked:
                    return _read_array(path, unpacked, None)
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            return _read_array(path, file, size)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def _read_array(path: Path, file: BinaryIO | gzip.GzipFile, size: int | None) -> npt.NDArray[np.uint8]:
    """size: bytes of the file; None where it has to be unpacked to know."""
    start = file.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] != _UNSIGNED_BYTE:
        raise DataError(f"{path}: not an IDX file of unsigned bytes")
    dimensions = start[3]
    if not 1 <= dimensions <= _MOST_DIMENSIONS:
        raise DataError(f"{path}: has {dimensions} dimensions; images have 3 or 4, and labels 1")
    sizes = file.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise DataError(f"{path}: truncated within its header, at {len(start + sizes)} bytes")
    shape = struct.unpack(f">{dimensions}I", sizes)
    if 0 in shape:  # beside a size of 0, NumPy refuses products of the others that are too large
        raise DataError(f"{path}: its array {shape} is empty")
    claimed = len(start + sizes) + math.prod(shape)
    if size is None or size == claimed:
        if lack := shortage(_COPIES * claimed):
            raise DataError(f"{path}: its array {shape} needs {lack}; train on fewer images, or smaller ones")
        content = file.read(math.prod(shape) + 1)
        if len(start + sizes) + len(content) == claimed:
            return np.frombuffer(content, np.uint8).reshape(shape)
        size = len(start + sizes) + len(content)  # of a longer one a byte was unpacked, and no more
    raise DataError(
        f"{path}: should hold {claimed:,} bytes for its shape {shape} but holds {size:,}"
        f"{' or more' if path.suffix == '.gz' and size > claimed else ''}; delete it, then download or copy it again"
    )


def _find(path: Path) -> Path | None:
    """The file or its gzipped form, whichever exists; None if neither does."""
    candidates = (path, path.with_name(path.name + ".gz"))
    return next((candidate for candidate in candidates if candidate.exists()), None)
