"""Data sets as plain uint8 arrays, small enough to sit on the device whole."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainer.errors import DataError, DownloadError
from trainer.idx import read_idx

NAMES = ("mnist", "glyphs")
"""Data sets known by name; anything else is a path to a `.npy` or `.npz` file."""

_MNIST_FILES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}


@dataclass(frozen=True)
class ImageData:
    """Training and test images of one shape, with labels where there are any."""

    name: str
    train_images: npt.NDArray[np.uint8]
    """(N, H, W, C), C = 1 or 3."""
    test_images: npt.NDArray[np.uint8]
    """(M, H, W, C)."""
    train_labels: npt.NDArray[np.int64] | None
    test_labels: npt.NDArray[np.int64] | None

    def __post_init__(self) -> None:
        for split in ("train", "test"):
            images, labels = getattr(self, f"{split}_images"), getattr(self, f"{split}_labels")
            if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
                raise DataError(
                    f"{self.name}: {split} images should be uint8 (N, H, W, 1 or 3) "
                    f"but are {images.dtype} {images.shape}"
                )
            if len(images) < 2:
                raise DataError(f"{self.name}: needs at least 2 {split} images but has {len(images)}")
            if labels is not None and labels.shape != (len(images),):
                raise DataError(f"{self.name}: {len(images)} {split} images but labels of shape {labels.shape}")
        if self.train_images.shape[1:] != self.test_images.shape[1:]:
            raise DataError(
                f"{self.name}: training images are {self.train_images.shape[1:]} "
                f"but test images are {self.test_images.shape[1:]}"
            )
        if self.train_images.min() == self.train_images.max():
            raise DataError(f"{self.name}: every pixel of every training image is {self.train_images.min()}")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        height, width, channels = self.train_images.shape[1:]
        return channels, height, width

    @cached_property
    def sha256(self) -> str:
        """Hash of all images with their shapes: two runs with the same hash saw the same pixels."""
        digest = hashlib.sha256()
        for images in (self.train_images, self.test_images):
            digest.update(repr(images.shape).encode())
            digest.update(np.ascontiguousarray(images).data)
        return digest.hexdigest()


def load(name: str, data_dir: Path) -> ImageData:
    """The data set `name`: mnist, glyphs, or the path of a `.npy` or `.npz` file.

    data_dir: where mnist lies, or is downloaded to. Raises DataError where the data cannot be had or used.
    """
    if name == "mnist":
        return _load_mnist(data_dir)
    if name == "glyphs":
        from trainer.glyphs import draw_glyphs

        (train_images, train_labels), (test_images, test_labels) = draw_glyphs()
        return ImageData(name, train_images, test_images, train_labels, test_labels)
    if Path(name).suffix in (".npy", ".npz"):
        from trainer.arrays import load_arrays

        return load_arrays(Path(name))
    raise DataError(f"unknown data set {name!r}; expected {', '.join(NAMES)}, or the path of a .npy or .npz file")


def load_default(data_dir: Path) -> tuple[ImageData, str]:
    """MNIST where it is on disk or can be downloaded, otherwise glyphs; and, in that case, the reason ("" with MNIST).

    Damaged MNIST files are an error, not a reason.
    """
    try:
        return load("mnist", data_dir), ""
    except DownloadError as error:
        return load("glyphs", data_dir), str(error)


def _load_mnist(data_dir: Path) -> ImageData:
    raw = data_dir / "MNIST" / "raw"
    if not all(_find(raw / name) for name in _MNIST_FILES.values()):
        from torchvision import datasets

        from trainer.download import download

        download(datasets.MNIST, data_dir)
    arrays = {}
    for key, name in _MNIST_FILES.items():
        path = _find(raw / name)
        if path is None:
            raise DataError(f"{raw / name}: missing, though the download succeeded")
        arrays[key] = read_idx(path)
        dimensions = 3 if key.endswith("images") else 1
        if arrays[key].ndim != dimensions:
            raise DataError(f"{path}: should have {dimensions} dimensions but has the shape {arrays[key].shape}")
    return ImageData(
        "mnist",
        arrays["train_images"][..., np.newaxis],
        arrays["test_images"][..., np.newaxis],
        arrays["train_labels"].astype(np.int64),
        arrays["test_labels"].astype(np.int64),
    )


def _find(path: Path) -> Path | None:
    """The file itself or its gzipped form, whichever is there."""
    candidates = (path, path.with_name(path.name + ".gz"))
    return next((candidate for candidate in candidates if candidate.exists()), None)
