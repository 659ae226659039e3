"""A prior that is a mixture, in C: latents to the bit as the contract says, for every label."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from export.c_source.library import Library, find_compiler
from export.c_source.write import write_c
from export.errors import ExportError
from runtime.noise import philox4x32, standard_normal
from tests.export.c_source.conftest import Written
from tests.hosts.helpers import missing

COMPONENTS, SLOTS, LATENT_DIM = 5, 8, 4
CLASSES = ("flat", "tall")


@dataclass
class FiveComponents:
    """Components 0 to 2 are of the first class, 3 and 4 of the second; some slots keep, some give away."""

    classes: tuple[str, ...] = CLASSES

    def __post_init__(self) -> None:
        random = np.random.default_rng(0)
        self.shift, self.scale = random.uniform(0.1, 2, (2, COMPONENTS, LATENT_DIM)).astype(np.float32)
        members = [np.arange(5), np.arange(3), np.arange(3, 5)][: 1 + len(self.classes)]
        self.aliases = np.stack([random.choice(own, SLOTS) for own in members]).astype(np.uint32)
        own = np.stack([np.isin(np.arange(SLOTS), chosen) for chosen in members])
        self.thresholds = np.where(own, random.integers(0, 65537, own.shape), 0).astype(np.uint32)

    def latents(
        self, seed: int, indices: npt.ArrayLike, labels: Any = -1, temperature: float = 1.0
    ) -> npt.NDArray[np.float32]:
        """The contract, sample by sample."""
        rows = []
        for index in np.asarray(indices):
            pairs = np.array([[(int(index) % 2**32) << 32 | int(index) >> 32], [2]], np.uint64)
            philox4x32(pairs, seed, np.empty_like(pairs))
            word = int(pairs[0, 0]) >> 32
            slot = word >> 29  # 32 - log2 8
            own = word % 65536 < self.thresholds[labels + 1, slot]
            k = slot if own else self.aliases[labels + 1, slot]
            noise = standard_normal(seed, [index], LATENT_DIM)[0]
            rows.append((noise * np.float32(temperature) + self.shift[k]) * self.scale[k])
        return np.stack(rows)


@pytest.mark.parametrize("classes", [CLASSES, ()])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_latents_of_every_label_are_those_of_the_contract(
    classes: tuple[str, ...], temperature: float, written: Callable[[str], Written]
) -> None:
    prior = FiveComponents(classes)
    model = written("colour conv")
    sources = write_c((model.decoder, model.encoder), model.metadata, prior)
    compiler = find_compiler()
    if compiler is None:
        missing("cc is not installed")
    files = {"generator.h": sources.header.encode(), "generator.c": sources.source.encode()}
    library = Library(files, compiler, ("-O2", "-Wall", "-Wextra", "-Werror", "-pedantic", "-shared", "-fPIC"))
    indices = np.concatenate([np.arange(200), 2**33 + np.arange(9)])
    for label in range(-1, len(classes)):
        found = library.latents(7, indices, LATENT_DIM, label, temperature)
        assert found.tobytes() == prior.latents(7, indices, label, temperature).tobytes()
    for label in (-2, len(classes)):
        with pytest.raises(ExportError, match="unknown label"):
            library.latents(7, indices, LATENT_DIM, label)


def test_the_header_names_the_classes(written: Callable[[str], Written]) -> None:
    model = written("colour conv")
    header = write_c((model.decoder, None), model.metadata, FiveComponents()).header
    assert "#define VAE_CLASSES 2 /* labels: 0 flat, 1 tall */" in header
    assert "#define VAE_CLASSES 0 /* this model knows no classes: the only label is -1 */" in model.sources.header
