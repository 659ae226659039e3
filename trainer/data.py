"""Data sets as plain uint8 arrays, small enough to sit on the device whole."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainer.errors import DataError, DownloadError
from trainer.seeds import derive_seed

NAMES = ("mnist", "fashion-mnist", "kmnist", "glyphs")
"""Data sets known by name; anything else is a path."""

_TEST_SHARE = 6  # one image in six is held out where there is no test split
_SPLIT_SEED = 0


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
    class_names: tuple[str, ...] | None = None
    """What label i means; None where the labels speak for themselves, or there are none."""
    skipped: tuple[str, ...] = ()
    """Files that could not be read, each with the reason."""

    @classmethod
    def hold_out(
        cls,
        name: str,
        images: npt.NDArray[np.uint8],
        labels: npt.NDArray[np.int64] | None,
        *,
        class_names: tuple[str, ...] | None = None,
        skipped: tuple[str, ...] = (),
    ) -> ImageData:
        """Images without a test split: every sixth, chosen by a fixed seed, becomes a test image."""
        if labels is not None and labels.shape != images.shape[:1]:
            raise DataError(f"{name}: {len(images)} images but labels of shape {labels.shape}")
        order = np.random.default_rng(derive_seed(_SPLIT_SEED, "split")).permutation(len(images))
        test, train = np.split(order, [len(order) // _TEST_SHARE])
        return cls(
            name,
            images[train],
            images[test],
            None if labels is None else labels[train],
            None if labels is None else labels[test],
            class_names,
            skipped,
        )

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


def load(name: str, data_dir: Path, *, image_size: int | None = None, channels: int | None = None) -> ImageData:
    """The data set `name`: one of NAMES, or the path of a folder of images, of IDX files, or of a `.npy`, `.npz` or
    IDX file.

    data_dir: where the named data sets lie, or are downloaded to. image_size: side of the middle square that images are
    brought to, in pixels. channels: 1 or 3. Raises DataError where the data cannot be had or used.
    """
    from trainer.resize import reshape_data

    return reshape_data(_load(name, data_dir, image_size, channels), image_size, channels)


def _load(name: str, data_dir: Path, image_size: int | None, channels: int | None) -> ImageData:
    from trainer.idx_data import FAMILY_NAMES, is_idx_folder, load_family, load_idx_file, load_idx_folder

    if name in FAMILY_NAMES:
        return load_family(name, data_dir)
    if name == "glyphs":
        from trainer.glyphs import draw_glyphs

        (train_images, train_labels), (test_images, test_labels) = draw_glyphs()
        return ImageData(name, train_images, test_images, train_labels, test_labels)
    path = Path(name)
    if path.is_dir():
        if is_idx_folder(path):
            return load_idx_folder(path, path.resolve().name)
        from trainer.images import load_folder

        return load_folder(path, image_size=image_size, channels=channels)
    if path.suffix in (".npy", ".npz"):
        from trainer.arrays import load_arrays

        return load_arrays(path)
    if "-idx" in path.name or path.suffix == ".idx":
        return load_idx_file(path)
    raise DataError(
        f"unknown data set {name!r}; expected {', '.join(NAMES)}, or the path of a folder of images, "
        "a .npy or .npz file, or an IDX file"
    )


def load_default(
    data_dir: Path, *, image_size: int | None = None, channels: int | None = None
) -> tuple[ImageData, str]:
    """MNIST where it is on disk or can be downloaded, otherwise glyphs; and, in that case, the reason ("" with MNIST).

    Damaged MNIST files are an error, not a reason.
    """
    try:
        return load("mnist", data_dir, image_size=image_size, channels=channels), ""
    except DownloadError as error:
        return load("glyphs", data_dir, image_size=image_size, channels=channels), str(error)
