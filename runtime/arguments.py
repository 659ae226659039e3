"""Arguments of the Python API, checked before they are used: whatever is wrong raises InputError."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import InputError
from runtime.machine.cpus import usable_cpus
from runtime.manifest import PRECISIONS

_HIGHEST_FACTOR = 1e30
"""Standard normal latents are below 10, so that those times this factor are still float32."""
_MOST_THREADS = 1024


def check_precision(precision: object) -> str:
    """A name of PRECISIONS."""
    if not isinstance(precision, str) or precision not in PRECISIONS:
        raise InputError(f"precision should be one of {', '.join(PRECISIONS)}, but is {precision!r}")
    return precision


def check_threads(threads: object) -> int:
    """How many threads compute; None means as many as this process may use."""
    return usable_cpus() if threads is None else check_integer("threads", threads, 1, _MOST_THREADS)


def check_integer(name: str, value: Any, lowest: int, highest: int | None = None) -> int:
    """`value` as a plain integer from `lowest` to `highest`; None means any."""
    try:
        number = operator.index(value)
    except TypeError:
        raise InputError(f"{name} should be an integer, but is {value!r}") from None
    if number < lowest or (highest is not None and number > highest):
        bounds = f"at least {lowest}" if highest is None else f"from {lowest} to {highest}"
        raise InputError(f"{name} should be {bounds}, but is {number}")
    return number


def check_factor(name: str, value: Any) -> np.float32:
    """A number from 0 to 1e30 that noise may be multiplied by."""
    try:
        number = float(value) if not isinstance(value, str | bytes) else math.nan
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 <= number <= _HIGHEST_FACTOR:
        raise InputError(f"{name} should be a finite number from 0 to {_HIGHEST_FACTOR:g}, but is {value!r}")
    return np.float32(number)


def check_indices(indices: Any) -> npt.NDArray[Any]:
    """Integers (N,), N perhaps 0."""
    chosen = as_array("indices", indices)
    if chosen.ndim != 1 or (len(chosen) and chosen.dtype.kind not in "iu"):
        raise InputError(f"indices should be integers (N,), but are {chosen.dtype} {chosen.shape}")
    return chosen


def as_array(name: str, value: Any, dtype: npt.DTypeLike | None = None) -> npt.NDArray[Any]:
    """`value` as an array of numbers."""
    try:
        array = np.asarray(value, dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{name} should be an array of numbers ({error})") from None
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name} should be an array of numbers, but is {type(value).__name__}")
    return array


def check_latents(z: Any, latent_dim: int, *, fewest: int = 0) -> npt.NDArray[np.float32]:
    """Finite latents float32 (N, latent_dim), N at least `fewest`."""
    latents = as_array("z", z, np.float32)
    if latents.ndim != 2 or latents.shape[1] != latent_dim or len(latents) < fewest:
        at_least = f", N at least {fewest}" if fewest else ""
        raise InputError(f"z should have the shape (N, {latent_dim}){at_least}, but has {latents.shape}")
    if not np.isfinite(latents).all():
        raise InputError("z should be finite, but holds NaN or infinity")
    return latents


def empty_pixels(num: int, pixels_shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """Memory for `num` images, uint8 (num, H, W, C). Raises InputError where there is not so much."""
    try:
        return np.empty((num, *pixels_shape), np.uint8)
    except (MemoryError, ValueError):
        raise InputError(
            f"{num:,} images are {num * math.prod(pixels_shape):,} bytes, which do not fit into memory; draw them in "
            "parts, as Sampler.stream does"
        ) from None
