"""A data set as uint8 arrays, small enough to be copied to the device as a whole."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.errors import DataError
from trainer.seeds import derive_seed

_TEST_SHARE = 6  # without a test split, one image in six is held out
_SPLIT_SEED = 0
_NAMED = 10  # classes that `repr` names


@dataclass(frozen=True)
class DataSource:
    """The arguments of `load` that give a data set again, in another process and from any folder."""

    dataset: str
    """A name known to `load`, or an absolute path."""
    data_dir: str | None = None
    """Absolute; None where the data set has a path of its own."""
    image_size: int | None = None
    channels: int | None = None


@dataclass(frozen=True, repr=False)
class ImageData:
    """Training and test images of one shape, with optional labels."""

    name: str
    train_images: npt.NDArray[np.uint8]
    """(N, H, W, C), C = 1 or 3."""
    test_images: npt.NDArray[np.uint8]
    """(M, H, W, C)."""
    train_labels: npt.NDArray[np.int64] | None
    test_labels: npt.NDArray[np.int64] | None
    class_names: tuple[str, ...] | None = None
    """The name of label i; None if the labels have no names, or there are no labels."""
    skipped: tuple[str, ...] = ()
    """Files that could not be read, each with the reason."""
    warnings: tuple[str, ...] = ()
    """What the one who trains should know of the files, each with a cure."""
    source: DataSource | None = None
    """Where `load` found it; None for arrays."""
    held_out: bool = False
    """Whether the test images are a sixth that was held out, because there is no test split."""
    test_files: tuple[str, ...] = ()
    """Names of the test images' files, in their order; empty where they come from no folder."""
    cache: Path | None = None
    """File in which the decoded images are kept for the next time."""

    @classmethod
    def hold_out(
        cls,
        name: str,
        images: npt.NDArray[np.uint8],
        labels: npt.NDArray[np.int64] | None,
        *,
        class_names: tuple[str, ...] | None = None,
        skipped: tuple[str, ...] = (),
        files: Sequence[str] = (),
    ) -> ImageData:
        """A data set from images without a test split: one in six, chosen with a fixed seed, becomes a test image.

        files: the name of each image's file, if they have any.
        """
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
            held_out=True,
            test_files=tuple(files[i] for i in test) if files else (),
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
            if labels is not None and self.class_names is not None:
                self._check_named(split, labels)
        if self.train_images.shape[1:] != self.test_images.shape[1:]:
            raise DataError(
                f"{self.name}: training images are {self.train_images.shape[1:]} "
                f"but test images are {self.test_images.shape[1:]}"
            )
        if self.train_images.min() == self.train_images.max():
            raise DataError(f"{self.name}: every pixel of every training image is {self.train_images.min()}")

    def _check_named(self, split: str, labels: npt.NDArray[np.int64]) -> None:
        assert self.class_names is not None
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= len(self.class_names):
            raise DataError(
                f"{self.name}: {split} labels reach from {low} to {high} "
                f"but class_names has a name for 0 to {len(self.class_names) - 1}"
            )

    def __repr__(self) -> str:
        channels, height, width = self.image_shape
        count = f"{len(self.train_images):,} training and {len(self.test_images):,} test images"
        classes = "" if self.class_count is None else f", {self.class_count} classes"
        if self.class_names is not None:
            named = ", ".join(self.class_names[:_NAMED]) + (", …" if len(self.class_names) > _NAMED else "")
            classes += f": {named}"
        return f"<{self.name}: {count} of {height}×{width}×{channels}{classes}>"

    def label_name(self, label: int) -> str:
        """The name of a class, or its number where the classes have no names."""
        return str(label) if self.class_names is None else self.class_names[label]

    @property
    def class_count(self) -> int | None:
        """Number of classes; None without labels."""
        if self.class_names is not None:
            return len(self.class_names)
        return None if self.train_labels is None else len(np.unique(self.train_labels))

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        height, width, channels = self.train_images.shape[1:]
        return channels, height, width

    @cached_property
    def sha256(self) -> str:
        """Hash of the pixels and shapes of all images."""
        digest = hashlib.sha256()
        for images in (self.train_images, self.test_images):
            digest.update(repr(images.shape).encode())
            digest.update(np.ascontiguousarray(images).data)
        return digest.hexdigest()


def as_uint8_images(images: npt.NDArray[Any], name: str) -> npt.NDArray[np.uint8]:
    """Images as uint8 (N, H, W, C). Raises DataError for floats outside [0, 1], NaN, and other types or shapes."""
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape:
        raise DataError(f"{name}: should have the shape (N, H, W) or (N, H, W, 1 or 3) but has {images.shape}")
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind != "f":
        raise DataError(f"{name}: should be uint8, or floats in [0, 1], but is {images.dtype}")
    low, high = images.min(), images.max()
    if not (low >= 0 and high <= 1):  # also false for NaN
        raise DataError(
            f"{name}: floats should be in [0, 1] without NaN but range from {low:g} to {high:g}; "
            "rescale them, or save uint8"
        )
    return np.rint(images * 255.0).astype(np.uint8)
