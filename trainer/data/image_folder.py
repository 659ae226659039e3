"""Data sets from folders of image files: decoded once, in parallel, into one uint8 array that is cached by content."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from runtime.errors import InputError
from runtime.files.arrays import ArrayHeader, read_headers
from runtime.files.atomic import replacing
from runtime.files.regular import open_regular
from runtime.images.decode import SUFFIXES, images_in, load_image, pillow_warnings_ignored, read_header
from runtime.machine.cpus import usable_cpus
from runtime.machine.memory import shortage
from runtime.manifest import PIXELS_VERSION
from trainer.data.cache import cache_folder
from trainer.data.dataset import ImageData
from trainer.errors import DataError

UNREADABLE_SHARE = 0.05
"""Largest share of unreadable files that is not an error."""
_LARGEST_OWN_SIDE = 128  # pixels; larger images must be resized, or a fully connected layer has too many inputs
_SMALL_SHARE = 0.1  # of the files may be smaller than the side without a warning
_NAMED = 5  # number of unreadable files listed in an error
_COPIES = 2.2  # of NumPy files, too: the images, and the splits taken from them
_CACHE_VERSION = 2, PIXELS_VERSION  # versions of the cache file and of the decoding

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def load_folder(
    folder: Path, *, image_size: int | None = None, channels: int | None = None, cache_dir: Path | None = None
) -> ImageData:
    """Load a folder of images: flat, or with one subfolder per class; split into `train` and `test` if it has both.

    image_size: side in pixels; images are cropped to the central square and resampled. None keeps their size, which
    must then be the same for all and at most 128 pixels. channels: 1 or 3; None means 1 if every file is gray, else 3.
    Without `train` and `test`, one image in six is held out, chosen with a fixed seed. Unreadable files are left out
    and listed in `skipped`; if they are more than 1 in 20, raises DataError, naming them. cache_dir: where decoded
    images are kept; None means `cache_folder()`.
    """
    splits = [folder / "train", folder / "test"]
    if not all(split.is_dir() for split in splits):
        splits = [folder]
    listings = [_list(split) for split in splits]
    classes = listings[0].classes
    for split, listing in zip(splits, listings, strict=True):
        if listing.classes != classes:
            raise DataError(f"{split}: should have the classes {_names(classes)} but has {_names(listing.classes)}")
    files = [path for listing in listings for path in listing.files]

    sources = _in_parallel("looking at", _look_at, files)
    height, width, channels = _choose_shape(folder, sources, image_size, channels)
    key = _key(folder, files, sources, (height, width, channels))
    cache = (cache_dir or cache_folder()) / f"images-{key}.npz"
    images, reasons = _decode_cached(cache, files, (height, width, channels))
    readable = reasons == ""
    skipped = tuple(f"{path} ({reason})" for path, reason in zip(files, reasons, strict=True) if reason)
    if len(skipped) > UNREADABLE_SHARE * len(files):
        rest = f" and {len(skipped) - _NAMED} more" if len(skipped) > _NAMED else ""
        raise DataError(
            f"{folder}: {len(skipped)} of {len(files)} images cannot be read, more than {UNREADABLE_SHARE:.0%}: "
            f"{', '.join(skipped[:_NAMED])}{rest}"
        )
    labels = None if classes is None else np.concatenate([listing.labels for listing in listings])[readable]
    name = folder.resolve().name
    warnings = _warnings(sources, height)
    names = [path.relative_to(folder).as_posix() for path, is_kept in zip(files, readable, strict=True) if is_kept]
    if len(splits) == 1:
        data = ImageData.hold_out(name, images[readable], labels, class_names=classes, skipped=skipped, files=names)
        return replace(data, warnings=warnings, cache=cache)
    train = int(readable[: len(listings[0].files)].sum())
    images = images[readable]
    return ImageData(
        name,
        images[:train],
        images[train:],
        None if labels is None else labels[:train],
        None if labels is None else labels[train:],
        class_names=classes,
        skipped=skipped,
        warnings=warnings,
        test_files=tuple(names[train:]),
        cache=cache,
    )


def _warnings(sources: Sequence[_Source], side: int) -> tuple[str, ...]:
    """Whether many files have fewer pixels than the side that they are resized to."""
    known = [min(source.size) for source in sources if source.size is not None]
    small = sum(own < side for own in known)
    if small <= _SMALL_SHARE * len(known):
        return ()
    warning = (
        f"{small:,} of {len(known):,} files are smaller than {side} pixels and are enlarged, which only adds blur; "
        f"try --image-size {sorted(known)[len(known) // 2]}"
    )
    return (warning,)


@dataclass(frozen=True)
class _Listing:
    files: list[Path]
    classes: tuple[str, ...] | None
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Source:
    """Properties of a file, read from its header without decoding it."""

    sha256: bytes
    size: tuple[int, int] | None
    """Width and height, upright; None if the file cannot be read."""
    is_gray: bool


def _list(folder: Path) -> _Listing:
    here = images_in(folder.iterdir())
    by_class = {
        child.name: found
        for child in sorted(folder.iterdir())
        if child.is_dir() and not child.name.startswith(".") and (found := images_in(child.rglob("*")))
    }
    if here and by_class:
        raise DataError(
            f"{folder}: contains images directly and also in {_names(tuple(by_class))}; "
            "it should be flat, or have one subfolder per class"
        )
    if not here and not by_class:
        raise DataError(f"{folder}: contains no images ({', '.join(SUFFIXES)})")
    if here:
        return _Listing(here, None, np.empty(0, np.int64))
    counts = [len(found) for found in by_class.values()]
    files = [path for found in by_class.values() for path in found]
    return _Listing(files, tuple(by_class), np.repeat(np.arange(len(counts)), counts))


def _look_at(path: Path) -> _Source:
    try:
        with open_regular(path) as file:
            digest = hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        return _Source((error.strerror or type(error).__name__).encode(), None, True)
    try:
        header = read_header(path)
        return _Source(digest, header.size, header.is_gray)
    except InputError:
        return _Source(digest, None, True)  # `load_image` will raise the same error; its reason is recorded there


def _choose_shape(
    folder: Path, sources: Sequence[_Source], image_size: int | None, channels: int | None
) -> tuple[int, int, int]:
    """Height, width and channels of the data set."""
    if channels is None:
        channels = 1 if all(source.is_gray for source in sources) else 3
    if image_size is not None:
        return image_size, image_size, channels
    sizes = sorted({source.size for source in sources if source.size is not None})
    if not sizes:
        raise DataError(f"{folder}: none of its {len(sources)} image files can be read")
    if len(sizes) > 1 or max(sizes[0]) > _LARGEST_OWN_SIDE:
        found = " to ".join(f"{width}×{height}" for width, height in dict.fromkeys([sizes[0], sizes[-1]]))
        raise DataError(f"{folder}: its images are {found} pixels; choose the side to train on, as in --image-size 32")
    width, height = sizes[0]
    return height, width, channels


def _key(folder: Path, files: Sequence[Path], sources: Sequence[_Source], shape: tuple[int, int, int]) -> str:
    digest = hashlib.sha256(repr((_CACHE_VERSION, shape)).encode())
    for path, source in zip(files, sources, strict=True):
        digest.update(os.fsencode(path.relative_to(folder)) + b"\0" + source.sha256)
    return digest.hexdigest()[:16]


def _decode_cached(
    path: Path, files: Sequence[Path], shape: tuple[int, int, int]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.str_]]:
    """Images uint8 (N, H, W, C), and for each the reason why it could not be read, or "".

    A file in the cache that is not what was put there is made again.
    """
    cached = _read_cache(path, (len(files), *shape))
    if cached is not None:
        return cached
    height, width, channels = shape
    if lack := shortage(_COPIES * len(files) * math.prod(shape)):
        raise DataError(
            f"{len(files):,} images of {height}×{width}×{channels} need {lack}; choose a smaller --image-size"
        )
    images = np.zeros((len(files), *shape), np.uint8)

    def decode(i: int) -> str:
        try:
            images[i], _ = load_image(files[i], (channels, height, width))
        except InputError as error:
            return str(error).removeprefix(f"{files[i]}: ")
        return ""

    reasons = np.array(_in_parallel("decoding", decode, range(len(files))))
    with replacing(path) as file:
        np.savez(file, images=images, reasons=reasons)
    return images, reasons


def _read_cache(
    path: Path, shape: tuple[int, int, int, int]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.str_]] | None:
    """What `_decode_cached` has kept; None where there is nothing, or something else."""
    if not path.exists():
        return None
    try:
        with open_regular(path) as file:
            headers = read_headers(file)
            images, reasons = headers["images"], headers["reasons"]
            if images != ArrayHeader(shape, np.dtype(np.uint8)) or reasons.dtype.kind != "U":
                return None
            with np.load(file, allow_pickle=False) as arrays:
                found = arrays["images"], arrays["reasons"]
    except Exception:  # zipfile and NumPy raise whatever damaged bytes cause
        return None
    return found if found[1].shape == shape[:1] else None


def _in_parallel(what: str, function: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
    """Apply `function` to every item, in order, in one thread per CPU: Pillow and hashlib release the GIL."""
    with pillow_warnings_ignored(), ThreadPoolExecutor(usable_cpus()) as pool:
        results = pool.map(function, items)
        return list(tqdm(results, what, len(items), unit=" images", unit_scale=True, leave=False, disable=None))


def _names(classes: tuple[str, ...] | None) -> str:
    return "none" if classes is None else ", ".join(classes[:10]) + (" …" if len(classes) > 10 else "")
