"""A prior that is a mixture, in C: latents to the bit as the contract says, for every label."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from export.c_source.self_test import pixels_of
from export.c_source.simulate import simulate
from export.c_source.write import write_c
from runtime.c_library import Library, find_compiler
from runtime.errors import EngineError
from runtime.noise import philox4x32, standard_normal
from runtime.prior import Prior
from tests.export.c_source.conftest import Written
from tests.hosts.helpers import missing

HERE = Path(__file__).parent
LATENT_DIM = 4
CLASSES = ("flat", "tall")


def five_components(classes: tuple[str, ...]) -> Prior:
    """Components 0 to 2 are of the first class, 3 and 4 of the second, where there are classes."""
    random = np.random.default_rng(0)
    means, deviations = random.uniform(0.1, 2, (2, 5, LATENT_DIM))
    weights = random.uniform(0.1, 1, 5)
    return Prior.of_mixture(weights, means, deviations, [0, 0, 0, 1, 1] if classes else None, classes)


def latents(prior: Prior, seed: int, indices: npt.NDArray[Any], label: int, temperature: float) -> npt.NDArray[Any]:
    """The contract, sample by sample."""
    rows = []
    for index in indices:
        pairs = np.array([[(int(index) % 2**32) << 32 | int(index) >> 32], [2]], np.uint64)
        philox4x32(pairs, seed, np.empty_like(pairs))
        word = int(pairs[0, 0]) >> 32
        slot = word >> 29  # 32 - log2 8
        own = word % 65536 < prior.thresholds[label + 1, slot]
        k = slot if own else prior.aliases[label + 1, slot]
        noise = standard_normal(seed, [index], prior.shift.shape[1])[0]
        rows.append((noise * np.float32(temperature) + prior.shift[k]) * prior.scale[k])
    return np.stack(rows)


@pytest.mark.parametrize("classes", [CLASSES, ()])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_latents_of_every_label_are_those_of_the_contract(
    classes: tuple[str, ...], temperature: float, written: Callable[[str], Written]
) -> None:
    prior = five_components(classes)
    assert prior.slots == 8
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
        assert found.tobytes() == latents(prior, 7, indices, label, temperature).tobytes()
    for label in (-2, len(classes)):
        with pytest.raises(EngineError, match="unknown label"):
            library.latents(7, indices, LATENT_DIM, label)


@pytest.mark.parametrize("name", ["colour conv", "photo", "resized"])
def test_pixels_of_a_label_are_the_networks_and_arguments_at_random_harm_nothing(
    name: str, written: Callable[[str], Written], tmp_path: Path
) -> None:
    model = written(name)
    random = np.random.default_rng(1)
    means, deviations = random.uniform(0.1, 2, (2, 5, model.metadata.latent_dim))
    prior = Prior.of_mixture(np.ones(5), means, deviations, [0, 0, 0, 1, 1], CLASSES)
    sources = write_c((model.decoder, model.encoder), model.metadata, prior)
    compiler = find_compiler()
    if compiler is None:
        missing("cc is not installed")
    files = {"generator.h": sources.header.encode(), "generator.c": sources.source.encode()}
    channels, height, width = model.metadata.image_shape
    library = Library(files, compiler)
    for label in (-1, 0, 1):
        (images,) = simulate(model.decoder, latents(prior, 3, np.arange(20), label, 1.0))
        found = library.sample(3, np.arange(20), (height, width, channels), label)
        assert found.tobytes() == pixels_of(images).tobytes()
    for file, content in files.items():
        (tmp_path / file).write_bytes(content)
    flags = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-I", tmp_path]
    program = [HERE / "fuzz.c", tmp_path / "generator.c", "-o", tmp_path / "fuzz"]
    subprocess.run([*compiler, *map(str, (*flags, *program))], check=True)
    assert subprocess.run([tmp_path / "fuzz"]).returncode == 0


def test_no_name_of_a_class_leaves_its_comment(written: Callable[[str], Written], tmp_path: Path) -> None:
    model = written("colour conv")
    if shutil.which("cc") is None:
        missing("cc is not installed")
    metadata = replace(model.metadata, provenance={"architecture": "*/ #error /* \\"})
    prior = five_components(("*/\n#error out\x00/*", "Größe ??/"))
    header = write_c((model.decoder, None), metadata, prior).header
    assert header.isascii()
    assert "#define VAE_CLASSES 2 /* labels: 0 *| #error out?|*, 1 Gr??e ??| */" in header
    (tmp_path / "generator.h").write_text(header)
    flags = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", "-std=c99"]
    done = subprocess.run(["cc", *flags, str(tmp_path / "generator.h")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_header_names_the_classes(written: Callable[[str], Written]) -> None:
    model = written("colour conv")
    header = write_c((model.decoder, None), model.metadata, five_components(CLASSES)).header
    assert "#define VAE_CLASSES 2 /* labels: 0 flat, 1 tall */" in header
    assert "#define VAE_CLASSES 0 /* this model knows no classes: the only label is -1 */" in model.sources.header
