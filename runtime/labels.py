"""Classes that are asked for: by name or number, for all images, for each one, or several in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import InputError
from runtime.prior import ANY_CLASS, Prior

Label = int | str
"""Name of a class, or its number."""


@dataclass(frozen=True)
class InTurn:
    """Image I is of class `labels[I % len(labels)]`: a function of its index, wherever a range begins."""

    labels: tuple[Label, ...]


Labels = Label | InTurn | Sequence[Label | None] | None
"""One class for all images, several in turn, one for each image in their order (None for any), or None for any."""

ClassNumbers = Callable[[npt.NDArray[Any], slice], npt.NDArray[np.int64] | int]
"""Indices (N,) of images, and which these are of all that were asked for → class numbers (N,), or one; -1 for any."""


def class_number(prior: Prior | None, label: Label) -> int:
    """Number of one class. prior: None for N(0, I), which knows no classes. Raises InputError."""
    if prior is None:
        raise InputError(
            f"label {label!r}: this bundle draws from N(0, I), which has no classes; fit a mixture with vae-train "
            "--resume RUN --prior mixture, and run vae-export again"
        )
    return prior.class_number(label)


def class_numbers(prior: Prior | None, labels: Labels, count: int) -> ClassNumbers:
    """Look up `labels` of `count` images. prior: None for N(0, I), which knows no classes.

    Raises InputError for an unknown class, for any where there are none, and for a sequence of another length.
    """
    if labels is None:
        return lambda indices, which: ANY_CLASS
    if isinstance(labels, InTurn):
        turn = np.array([class_number(prior, label) for label in labels.labels], np.int64)
        if not len(turn):
            raise InputError("labels in turn should be at least one, but are none")
        # As uint64, for beside a signed array NumPy would go through float64, which is exact up to 2**53 only.
        return lambda indices, which: turn[(indices.astype(np.uint64) % np.uint64(len(turn))).astype(np.int64)]
    if isinstance(labels, (int, str, np.integer)):
        number = class_number(prior, labels)
        return lambda indices, which: number
    numbers = {label: ANY_CLASS if label is None else class_number(prior, label) for label in set(labels)}
    found = np.array([numbers[label] for label in labels], np.int64)
    if len(found) != count:
        raise InputError(f"labels should be one for all images or one for each of {count}, but are {len(found)}")
    return lambda indices, which: found[which]
