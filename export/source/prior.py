"""The prior of anybody's VAE: N(0, I), or a mixture fitted to the posterior of the images that came with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from export.errors import ModelError
from export.halves import ForeignVAE
from runtime.prior import Prior
from trainer.prior import fit_prior

FEWEST_IMAGES = 100
"""With fewer, the components would be copies of the images."""

_SEED = 0
_NUMBERS_AT_ONCE = 2**20  # of the images that are encoded together


def foreign_prior(
    model: ForeignVAE,
    images: npt.NDArray[np.uint8] | None,
    kind: str,
    labels: npt.NDArray[np.integer[Any]] | None,
    class_names: Sequence[str] | None,
) -> Prior | None:
    """The fitted mixture, or None for N(0, I). The arguments are those of `Source.of_modules`. Raises ModelError."""
    if kind not in ("normal", "mixture"):
        raise ModelError(f"prior should be normal or mixture, but is {kind!r}")
    if kind == "normal":
        if labels is not None or class_names is not None:
            raise ModelError("labels are for a mixture that is fitted to them; add prior='mixture'")
        return None
    if model.encoder is None or images is None:
        raise ModelError("prior='mixture' is fitted to what the encoder makes of images, but there is no encoder")
    if len(images) < FEWEST_IMAGES:
        raise ModelError(f"prior='mixture' needs at least {FEWEST_IMAGES} images but there are {len(images)}")
    classes = None if labels is None else _checked(labels, len(images), class_names)
    try:
        return fit_prior(
            model,
            images,
            classes,
            seed=_SEED,
            class_names=None if class_names is None else tuple(class_names),
            batch=max(1, _NUMBERS_AT_ONCE // images[0].size),
        ).prior
    except ValueError as error:  # a posterior that no mixture describes
        raise ModelError(f"no mixture can be fitted to the posterior of the images: {error}") from error


def _checked(labels: Any, count: int, class_names: Sequence[str] | None) -> npt.NDArray[np.int64]:
    """The labels as int64 (N,)."""
    array = np.asarray(labels)
    if array.shape != (count,) or array.dtype.kind not in "iu":
        raise ModelError(
            f"labels should be integers ({count},), one for each image, but are {array.dtype} {array.shape}"
        )
    if class_names is not None and not 0 <= array.min() <= array.max() < len(class_names):
        raise ModelError(
            f"labels reach from {array.min()} to {array.max()}, but class_names has {len(class_names)} names"
        )
    return array.astype(np.int64)
