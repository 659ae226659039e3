"""Data sets from NumPy files: `.npy` with images, `.npz` with images, labels and splits."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.files.arrays import read_headers
from runtime.files.atomic import replacing
from runtime.files.regular import open_regular
from runtime.machine.memory import readable, shortage
from trainer.data.dataset import ImageData, as_uint8_images
from trainer.errors import DataError

_COPIES = 2.2  # measured: the peak of loading, in sizes of the arrays


def load_arrays(path: Path) -> ImageData:
    """Load a `.npy` file of images, or a `.npz` file with `images` and optionally `labels`, or with `train_images`,
    `test_images` and optionally `train_labels`, `test_labels`; either way optionally with `class_names`.

    Images: uint8 (N, H, W) or (N, H, W, C), or floats of those shapes in [0, 1]. Raises DataError for anything else.
    """
    arrays = _read(path)
    name = path.name
    if "train_images" in arrays and "test_images" in arrays:
        return ImageData(
            name,
            as_uint8_images(arrays["train_images"], f"{name}: train_images"),
            as_uint8_images(arrays["test_images"], f"{name}: test_images"),
            _labels(arrays, "train_labels"),
            _labels(arrays, "test_labels"),
            class_names=_class_names(arrays),
        )
    if "images" not in arrays:
        raise DataError(
            f"{path}: should contain images, or train_images and test_images, but contains {', '.join(arrays)}"
        )
    return ImageData.hold_out(
        name, as_uint8_images(arrays["images"], name), _labels(arrays, "labels"), class_names=_class_names(arrays)
    )


def save_arrays(data: ImageData, path: Path) -> None:
    """Write a data set so that `load_arrays` reads the same images, labels and class names. Atomic."""
    arrays: dict[str, Any] = {"train_images": data.train_images, "test_images": data.test_images}
    for key in ("train_labels", "test_labels", "class_names"):
        if getattr(data, key) is not None:
            arrays[key] = np.asarray(getattr(data, key))
    with replacing(path) as file:
        np.savez(file, **arrays)


def _read(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        with open_regular(path) as file:
            _check_fits(path, sum(header.nbytes for header in read_headers(file).values()))
            loaded = np.load(file, allow_pickle=False)
            return {"images": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except DataError:
        raise
    except Exception as error:  # zipfile and NumPy raise whatever damaged bytes cause
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot be read as a NumPy file: {reason}") from error


def _class_names(arrays: dict[str, npt.NDArray[Any]]) -> tuple[str, ...] | None:
    if "class_names" not in arrays:
        return None
    if arrays["class_names"].dtype.kind != "U" or arrays["class_names"].ndim != 1:
        raise DataError(f"class_names should be one text for each class but is {arrays['class_names'].dtype}")
    return tuple(arrays["class_names"].tolist())


def _check_fits(path: Path, size: int) -> None:
    """The arrays, and the images of the training split and of the test split, taken from them."""
    if lack := shortage(_COPIES * size):
        raise DataError(
            f"{path}: its arrays are {readable(size)} and need {lack}; train on fewer images, or smaller ones"
        )


def _labels(arrays: dict[str, npt.NDArray[Any]], key: str) -> npt.NDArray[np.int64] | None:
    if key not in arrays:
        return None
    if arrays[key].dtype.kind not in "iu":
        raise DataError(f"{key} should be integers but is {arrays[key].dtype}")
    return arrays[key].astype(np.int64)
