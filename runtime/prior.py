"""Prior, version 1: a mixture of diagonal Gaussians in place of N(0, I), the same bits in every engine and language.

Component k of a mixture of K draws `z = (n * temperature + shift[k]) * scale[k]`, where n is the standard normal noise
of stream 0 (`runtime.noise`), scale[k] the standard deviations and shift[k] the mean divided by them; all float32, in
this order. At temperature 1 the first product is exact, and an addition followed by a multiplication cannot be
contracted into a fused multiply-add, so no compiler and no engine can disagree on a bit.

The component is chosen by alias tables (Walker 1977; Vose 1991, "A linear algorithm for generating random numbers with
a given distribution"): integers only, one word and two look-ups. Word 0 of block 0 of stream 2 of (seed, index) is w.
There are S slots, a power of two, and a row of tables for "any class" and one for each class:

    slot = w >> (32 - log2 S)
    k    = slot if (w & 0xFFFF) < threshold[row, slot] else alias[row, slot]

A threshold is a number of 65,536ths, from 0 to 65,536. The row of class c is c + 1; row 0 is any class, label -1.

A bundle holds the arrays as `prior.npz` and, for hosts that read no NumPy files, as `prior.json`.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import BundleError, InputError
from runtime.noise import component_words, normal_and_component_words, standard_normal

PRIOR_VERSION = 1
ANY_CLASS = -1
"""The label of a sample that may be of any class."""
FULL = 1 << 16
"""The threshold of a slot whose alias is never taken."""
MOST_SLOTS = 1 << 16
MOST_TABLE_ENTRIES = 1 << 22
"""Rows times slots."""

_FEWEST_SLOTS = 2  # a shift by 32, which one slot would need, is undefined in C
_LARGEST_NOISE = 1000.0  # far beyond what the noise times any sensible temperature reaches
_DTYPES = {"shift": "<f4", "scale": "<f4", "component_class": "<i8", "thresholds": "<u4", "aliases": "<u4"}

_Floats = npt.NDArray[np.float32]
_Words = npt.NDArray[np.uint32]
_Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Prior:
    """A mixture of K diagonal Gaussians over L latents, each of one class where the data has C classes.

    The constructor proves that the arrays fit together. Raises ValueError, saying what does not.
    """

    shift: _Floats
    """Mean divided by standard deviation, float32 (K, L)."""
    scale: _Floats
    """Standard deviation, float32 (K, L), above 0."""
    component_class: _Integers
    """Class of each component, int64 (K,): 0 … C - 1, or -1 where there are no classes."""
    thresholds: _Words
    """uint32 (1 + C, S), 0 … 65,536."""
    aliases: _Words
    """uint32 (1 + C, S), 0 … K - 1."""
    classes: tuple[str, ...] = ()
    """Names of the C classes."""

    def __post_init__(self) -> None:
        _check_arrays(self)

    @classmethod
    def of_mixture(
        cls,
        weights: npt.ArrayLike,
        means: npt.ArrayLike,
        deviations: npt.ArrayLike,
        component_class: npt.ArrayLike | None = None,
        classes: Sequence[str] = (),
    ) -> Prior:
        """The prior of a fitted mixture.

        weights: (K,), not negative; they need not sum to 1. means, deviations: (K, L). component_class: (K,), the class
        of each component, where there are `classes`; each of them needs a component of positive weight.
        Raises ValueError where these are not finite, or do not fit together.
        """
        mass = np.asarray(weights, np.float64)
        scale = np.asarray(deviations).astype(np.float32)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # refused below, in words
            shift = (np.asarray(means, np.float64) / scale).astype(np.float32)
        count = len(mass)
        members = np.full(count, ANY_CLASS) if component_class is None else np.asarray(component_class, np.int64)
        slots = max(_FEWEST_SLOTS, 1 << (count - 1).bit_length())
        rows = [mass, *(np.where(members == number, mass, 0.0) for number in range(len(classes)))]
        tables = [alias_table(row, slots) for row in rows]
        return cls(
            shift,
            scale,
            members.astype(np.int64),
            np.stack([thresholds for thresholds, _ in tables]),
            np.stack([aliases for _, aliases in tables]),
            tuple(classes),
        )

    @property
    def components(self) -> int:
        """K."""
        return len(self.shift)

    @property
    def latent_dim(self) -> int:
        """L."""
        return int(self.shift.shape[1])

    @property
    def slots(self) -> int:
        """S."""
        return int(self.thresholds.shape[1])

    @property
    def slot_shift(self) -> int:
        """How far a word is shifted to the right to give its slot: 32 - log2 S."""
        return 33 - self.slots.bit_length()

    def choose(self, words: _Words, labels: npt.NDArray[Any] | int = ANY_CLASS) -> _Integers:
        """Components int64 (N,) for random words uint32 (N,). labels: one, or int (N,), each -1 … C - 1."""
        slot = words >> np.uint32(self.slot_shift)
        if isinstance(labels, int):
            place: npt.NDArray[Any] = slot if labels == ANY_CLASS else slot + np.uint32((labels + 1) * self.slots)
        else:
            place = (labels + 1) * self.slots + slot
        own = (words & np.uint32(FULL - 1)) < self.thresholds.ravel().take(place)
        return np.where(own, slot, self.aliases.ravel().take(place)).astype(np.int64)

    def component(self, seed: int, indices: npt.ArrayLike, labels: npt.NDArray[Any] | int = ANY_CLASS) -> _Integers:
        """Component of each sample of `seed`: int64 (N,).

        indices: as for `standard_normal`. labels: as for `choose`.
        """
        return self.choose(component_words(seed, indices), labels)

    def latents(
        self,
        seed: int,
        indices: npt.ArrayLike,
        labels: npt.NDArray[Any] | int = ANY_CLASS,
        temperature: float = 1.0,
    ) -> _Floats:
        """Latents of the samples `indices` of `seed`: float32 (N, L).

        temperature: scales the noise around the component's mean. Raises InputError for a bad seed or index.
        """
        z, words = normal_and_component_words(seed, indices, self.latent_dim)
        chosen = self.choose(words, labels)
        if temperature != 1:
            np.multiply(z, np.float32(temperature), out=z)
        np.add(z, self.shift.take(chosen, axis=0), out=z)
        return np.multiply(z, self.scale.take(chosen, axis=0), out=z)

    def labels(self, seed: int, indices: npt.ArrayLike, labels: npt.NDArray[Any] | int = ANY_CLASS) -> _Integers:
        """Class of each sample, int64 (N,): that of its component. Arguments as for `component`."""
        return self.component_class[self.component(seed, indices, labels)]

    def probabilities(self, label: int = ANY_CLASS) -> npt.NDArray[np.float64]:
        """What the tables draw each component with, exactly: float64 (K,)."""
        thresholds, aliases = self.thresholds[label + 1].astype(np.int64), self.aliases[label + 1]
        shares = np.bincount(aliases, weights=FULL - thresholds, minlength=self.slots)
        shares[: self.slots] += thresholds
        return shares[: self.components] / (FULL * self.slots)

    def class_mean(self, label: int) -> npt.NDArray[np.float64]:
        """Mean latent of a class, or of all (-1): float64 (L,)."""
        mean: npt.NDArray[np.float64] = self.probabilities(label) @ (self.shift.astype(np.float64) * self.scale)
        return mean

    def class_of(self, z: npt.NDArray[Any]) -> _Integers:
        """The class under which each latent is most likely, int64 (N,). z: (N, L). For a prior with classes."""
        mean, scale = self.shift.astype(np.float64) * self.scale, self.scale.astype(np.float64)
        scores = np.empty((len(z), self.components))
        for k in range(self.components):
            scores[:, k] = -0.5 * (((z - mean[k]) / scale[k]) ** 2).sum(1) - np.log(scale[k]).sum()
        by_class = []
        for number in range(len(self.classes)):
            p = self.probabilities(number)
            drawn = p > 0
            by_class.append(np.logaddexp.reduce(scores[:, drawn] + np.log(p[drawn]), axis=1))
        best: _Integers = np.argmax(by_class, axis=0)
        return best

    def class_number(self, label: int | str) -> int:
        """Number of a class that is given by its name, or by its number as int or str. Raises InputError for others."""
        if not self.classes:
            raise InputError(f"label {label!r}: the prior has no classes, since its training images had no labels")
        if isinstance(label, str):
            if label in self.classes:
                return self.classes.index(label)
            if label.isascii() and label.isdecimal() and int(label) < len(self.classes):
                return int(label)
        elif isinstance(label, (int, np.integer)) and not isinstance(label, bool) and 0 <= label < len(self.classes):
            return int(label)
        raise InputError(f"there is no class {label!r}; the classes are {', '.join(self.classes)}")

    def only(self, dimensions: npt.NDArray[np.int64]) -> Prior:
        """The marginal over some of the latents: the same components, with `dimensions` (int64) of their numbers."""
        return replace(self, shift=self.shift[:, dimensions], scale=self.scale[:, dimensions])

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays of `prior.npz` by name, little-endian."""
        return {name: np.ascontiguousarray(getattr(self, name), dtype) for name, dtype in _DTYPES.items()}

    def to_npz(self) -> bytes:
        """The content of `prior.npz`: the arrays, the same bytes for the same prior."""
        import zipfile  # here: a process that draws one image has no use for it

        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, array in self.arrays().items():
                member = io.BytesIO()
                np.lib.format.write_array(member, array, allow_pickle=False)
                archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue())  # ZipInfo's own date is a fixed one
        return buffer.getvalue()

    def to_json(self) -> bytes:
        """The content of `prior.json`: each array as `{"dtype", "shape", "data"}`, flat in row-major order, and names.

        A float32 is written with as many digits as bring back the same bits.
        """
        content: dict[str, Any] = {"version": PRIOR_VERSION, "kind": "mixture", "classes": list(self.classes)}
        for name, array in self.arrays().items():
            flat = array.ravel()
            data = [float(str(value)) for value in flat] if array.dtype.kind == "f" else flat.tolist()
            content[name] = {"dtype": array.dtype.name, "shape": list(array.shape), "data": data}
        return (json.dumps(content, separators=(",", ":"), allow_nan=False, ensure_ascii=False) + "\n").encode()

    @classmethod
    def from_npz(cls, content: bytes, name: str, classes: Sequence[str]) -> Prior:
        """Read `prior.npz`, which need not be trusted; `name` is for the words of an error. Raises BundleError."""
        from runtime.files.arrays import read_headers

        try:
            size = sum(header.nbytes for header in read_headers(io.BytesIO(content)).values())
            if size > len(content):  # `to_npz` stores the arrays as they are
                raise BundleError(f"{name}: would unpack from {len(content):,} to {size:,} bytes, which no prior does")
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                found = {key: arrays[key] for key in arrays.files}
        except BundleError:
            raise
        except Exception as error:  # zipfile and NumPy let through whatever damaged bytes make them run into
            raise BundleError(f"{name}: cannot be read: {' '.join(str(error).split())}") from error
        if found.keys() != _DTYPES.keys():
            raise BundleError(f"{name}: should hold {', '.join(_DTYPES)} but holds {', '.join(found) or 'nothing'}")
        for key, dtype in _DTYPES.items():
            if found[key].dtype.str != dtype:
                raise BundleError(f"{name}: {key} should be {np.dtype(dtype).name} but is {found[key].dtype}")
        try:
            return cls(**found, classes=tuple(classes))
        except ValueError as error:
            raise BundleError(f"{name}: {error}") from error


def prior_latents(
    prior: Prior | None,
    seed: int,
    indices: npt.ArrayLike,
    latent_dim: int,
    labels: npt.NDArray[Any] | int = ANY_CLASS,
    temperature: float = 1.0,
) -> _Floats:
    """Latents of the samples `indices` of `seed`: float32 (N, L). prior: None for N(0, I), which has no labels."""
    if prior is not None:
        return prior.latents(seed, indices, labels, temperature)
    z = standard_normal(seed, indices, latent_dim)
    return np.multiply(z, np.float32(temperature), out=z)


def alias_table(weights: npt.NDArray[np.float64], slots: int) -> tuple[_Words, _Words]:
    """Thresholds and aliases, uint32 (slots,) each, of a draw with probabilities in proportion to `weights`, (K,).

    slots: a power of two from 2 to 65,536, at least K. Each slot is 65,536 units of probability. The edges between
    the weights are first rounded to whole units, and the tables hold the result exactly. Vose 1991.
    Raises ValueError where a weight is negative or not finite, or all are 0.
    """
    count = len(weights)
    if not (_FEWEST_SLOTS <= slots <= MOST_SLOTS and slots & (slots - 1) == 0 and count <= slots):
        raise ValueError(
            f"slots should be a power of two from {max(_FEWEST_SLOTS, count)} to {MOST_SLOTS} but are {slots}"
        )
    edges = np.cumsum(weights, dtype=np.float64)
    if not (np.isfinite(edges).all() and (weights >= 0).all() and edges[-1] > 0):
        raise ValueError("weights should be finite, none negative and not all 0")
    units = np.zeros(slots, np.int64)
    units[:count] = np.diff(np.rint(edges / edges[-1] * (FULL * slots)), prepend=0.0)
    thresholds, aliases = np.full(slots, FULL, np.uint32), np.arange(slots, dtype=np.uint32)
    poor = np.flatnonzero(units < FULL).tolist()
    rich = np.flatnonzero(units > FULL).tolist()
    while poor:
        slot, giver = poor.pop(), rich[-1]
        thresholds[slot], aliases[slot] = units[slot], giver
        units[giver] -= FULL - units[slot]
        if units[giver] <= FULL:
            rich.pop()
            if units[giver] < FULL:
                poor.append(giver)
    return thresholds, aliases


def _check_arrays(prior: Prior) -> None:
    """Everything that `choose` and `latents` rely on; as ValueError, in one sentence."""
    shapes = {name: getattr(prior, name).shape for name in _DTYPES}
    if len(shapes["shift"]) != 2 or 0 in shapes["shift"] or shapes["scale"] != shapes["shift"]:
        raise ValueError(
            f"shift and scale should have one shape (K, L) but have {shapes['shift']} and {shapes['scale']}"
        )
    count = shapes["shift"][0]
    if shapes["component_class"] != (count,):
        raise ValueError(f"component_class should have the shape ({count},) but has {shapes['component_class']}")
    rows = 1 + len(prior.classes)
    if len(shapes["thresholds"]) != 2 or shapes["thresholds"][0] != rows or shapes["aliases"] != shapes["thresholds"]:
        raise ValueError(
            f"thresholds and aliases should have one shape ({rows}, slots), a row for any class and one for each of "
            f"{len(prior.classes)} classes, but have {shapes['thresholds']} and {shapes['aliases']}"
        )
    slots = shapes["thresholds"][1]
    if not (_FEWEST_SLOTS <= slots <= MOST_SLOTS and slots & (slots - 1) == 0 and count <= slots):
        raise ValueError(
            f"the tables should have slots of a power of two from {max(_FEWEST_SLOTS, count)} to {MOST_SLOTS} "
            f"but have {slots}"
        )
    if rows * slots > MOST_TABLE_ENTRIES:
        raise ValueError(f"the tables should have at most {MOST_TABLE_ENTRIES:,} entries but have {rows * slots:,}")
    for name in ("shift", "scale"):
        if not np.isfinite(getattr(prior, name)).all():
            raise ValueError(f"{name} holds NaN or infinity")
    if not (prior.scale > 0).all():
        raise ValueError(f"scale should be above 0 but reaches down to {prior.scale.min()}")
    reach = (np.abs(prior.shift.astype(np.float64)) + _LARGEST_NOISE) * prior.scale
    if not (reach < np.finfo(np.float32).max).all():
        raise ValueError("shift and scale are so large that latents would not be finite")
    allowed = (-1, -1) if not prior.classes else (0, len(prior.classes) - 1)
    if not ((prior.component_class >= allowed[0]) & (prior.component_class <= allowed[1])).all():
        raise ValueError(f"component_class should be from {allowed[0]} to {allowed[1]}")
    if (prior.thresholds > FULL).any():
        raise ValueError(f"thresholds should be at most {FULL} but reach {prior.thresholds.max()}")
    if (prior.aliases >= slots).any() or ((prior.aliases >= count) & (prior.thresholds < FULL)).any():
        raise ValueError(f"aliases should be below {count}, the number of components, but reach {prior.aliases.max()}")
    if (prior.thresholds[:, count:] > 0).any():
        raise ValueError(f"thresholds of slots from {count}, the number of components, should be 0")
    own_class = np.full(slots, ANY_CLASS)
    own_class[:count] = prior.component_class
    for number in range(len(prior.classes)):
        thresholds, aliases = prior.thresholds[number + 1], prior.aliases[number + 1]
        drawn = np.concatenate([own_class[thresholds > 0], own_class[aliases[thresholds < FULL]]])
        if (drawn != number).any():
            raise ValueError(f"the tables of class {prior.classes[number]!r} draw components of another class")
