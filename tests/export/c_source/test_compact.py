"""C source with weights of 8 or 16 bits: which numbers they become, that they widen exactly, and what they save."""

from __future__ import annotations

import dataclasses
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from export.c_source.compact import compact
from export.c_source.network import Convolution, Linear, Network, Scale, Storage
from export.c_source.simulate import simulate
from export.c_source.write import write_c
from export.errors import ExportError
from runtime.c_library import Library
from runtime.manifest import Metadata
from runtime.noise import NOISE_VERSION, standard_normal
from tests.export.c_source.conftest import Written
from tests.hosts.helpers import missing

STRICT = ("-Wall", "-Wextra", "-Werror", "-pedantic", "-shared", "-fPIC")
NAMES = ("deep colour mlp", "colour conv")
SMALL: tuple[Storage, ...] = ("int8", "fp16")
SMALLEST_NORMAL_HALF = 2.0**-14


def layers(network: Network) -> list[Linear | Convolution]:
    return [step for step in network.steps if isinstance(step, Linear | Convolution)]


def one_layer(weights: np.ndarray) -> Network:
    """A decoder of one latent: the image of z = 1 is its weights."""
    row = weights.astype(np.float64)[None]
    sizes = {"z": 1, "image": len(weights)}
    return Network("decoder", "z", ("image",), (Linear("z", "image", row, np.zeros(len(weights))),), sizes)


def decoded_by(network: Network, shape: tuple[int, int, int], z: np.ndarray, *command: str) -> np.ndarray:
    """Images of the C source, by a compiler with its flags."""
    if shutil.which(command[0]) is None:
        missing(f"{command[0]} is not installed")
    metadata = Metadata("0" * 16, NOISE_VERSION, z.shape[1], shape, {"architecture": "test"})
    sources = write_c((network, None), metadata)
    files = {"generator.h": sources.header.encode(), "generator.c": sources.source.encode()}
    return Library(files, command[:1], (*command[1:], *STRICT)).decode(z, shape)


@pytest.mark.parametrize("name", NAMES)
def test_int8_weights_are_whole_numbers_within_half_a_step(name: str, written: Callable[..., Written]) -> None:
    full = written(name)
    small = compact(full.encoder, "int8")
    scales = [step.scale for step in small.steps if isinstance(step, Scale)]
    for before, after, scale in zip(layers(full.encoder), layers(small), scales, strict=True):
        assert (after.weight == np.rint(after.weight)).all()
        assert (np.abs(after.weight).reshape(-1, len(scale)).max(axis=0) == 127).all()
        assert (np.abs(after.weight * scale - before.weight) <= scale / 2 * 1.001).all()


@pytest.mark.parametrize("name", NAMES)
def test_fp16_weights_are_the_nearest_half_that_is_no_subnormal(name: str, written: Callable[..., Written]) -> None:
    full = written(name)
    for before, after in zip(layers(full.encoder), layers(compact(full.encoder, "fp16")), strict=True):
        for exact, rounded in zip(before.weight.ravel()[:500], after.weight.ravel()[:500], strict=True):
            (nearest,) = struct.unpack("<e", struct.pack("<e", exact))
            if abs(exact) > SMALLEST_NORMAL_HALF:
                assert rounded == nearest
            else:
                assert abs(rounded) in (0, SMALLEST_NORMAL_HALF)
                assert abs(rounded - exact) <= SMALLEST_NORMAL_HALF / 2


def test_subnormal_halves_go_to_the_nearer_of_zero_and_the_smallest_normal_one() -> None:
    smallest = SMALLEST_NORMAL_HALF
    given = np.array([0.4 * smallest, 0.6 * smallest, -0.6 * smallest, 0.999 * smallest, smallest, -1e-9])
    (layer,) = layers(compact(one_layer(given), "fp16"))
    assert layer.weight[0].tolist() == [0, smallest, -smallest, smallest, smallest, 0]


@pytest.mark.parametrize(
    "command",
    [("gcc", "-O0"), ("gcc", "-O2"), ("gcc", "-O3", "-march=native"), ("clang", "-O3", "-march=native")],
    ids=" ".join,
)
def test_every_half_widens_to_its_own_number(command: tuple[str, ...]) -> None:
    magnitudes = np.arange(0x0400, 0x7C00, dtype=np.uint16).view(np.float16).astype(np.float64)  # all normal numbers
    weights = np.concatenate([[0], magnitudes, -magnitudes, np.zeros(255)])
    found = decoded_by(compact(one_layer(weights), "fp16"), (1, 241, 256), np.ones((1, 1), np.float32), *command)
    assert (found.ravel() == weights).all()


@pytest.mark.parametrize("command", [("gcc", "-O0"), ("gcc", "-O3", "-march=native"), ("clang", "-O2")], ids=" ".join)
def test_every_byte_widens_to_its_own_number(command: tuple[str, ...]) -> None:
    weights = np.concatenate([np.arange(-127, 128), [127]])
    network = one_layer(weights)
    (layer,) = layers(network)
    scaled = dataclasses.replace(layer, target="image_sum")
    network = dataclasses.replace(
        network,
        steps=(scaled, Scale("image_sum", "image", np.full(256, 0.5), np.zeros(256))),
        sizes={**network.sizes, "image_sum": 256},
        storage="int8",
    )
    found = decoded_by(network, (1, 16, 16), np.ones((1, 1), np.float32), *command)
    assert (found.ravel() == weights / 2).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("storage", SMALL)
def test_the_bits_are_those_of_float32_weights_of_the_same_numbers(
    name: str, storage: Storage, written: Callable[..., Written]
) -> None:
    small = written(name, storage)
    wide = dataclasses.replace(small.decoder, storage="float32")
    z = standard_normal(0, np.arange(5), small.metadata.latent_dim)
    images = [decoded_by(network, small.metadata.image_shape, z, "gcc", "-O2") for network in (small.decoder, wide)]
    assert images[0].tobytes() == images[1].tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_they_save_what_they_promise_for_the_same_header(
    name: str, written: Callable[..., Written], tmp_path: Path
) -> None:
    if shutil.which("gcc") is None:
        missing("gcc is not installed")
    full = written(name)
    sizes = {}
    for storage in ("float32", *SMALL):
        source = written(name, storage)
        assert source.sources.header == full.sources.header
        source.save(tmp_path)
        command = ["gcc", "-O2", "-c", str(tmp_path / "generator.c"), "-o", str(tmp_path / "generator.o")]
        subprocess.run(command, check=True)
        text = subprocess.run(["size", tmp_path / "generator.o"], check=True, capture_output=True, text=True).stdout
        sizes[storage] = int(text.splitlines()[1].split()[0]), source.sources.constant_bytes
    for storage in SMALL:
        saved, promised = (sizes["float32"][i] - sizes[storage][i] for i in range(2))
        assert promised > 0
        assert abs(saved - promised) < 4096  # code differs too


@pytest.mark.parametrize(("storage", "least_db"), [("int8", 40.0), ("fp16", 70.0)])
@pytest.mark.parametrize("name", NAMES)
def test_images_lose_little(name: str, storage: Storage, least_db: float, written: Callable[..., Written]) -> None:
    z = standard_normal(0, np.arange(50), written(name).metadata.latent_dim)
    (image,), (small,) = (simulate(written(name, kind).decoder, z) for kind in ("float32", storage))
    assert -10 * np.log10(np.square(image - small).mean()) > least_db


def test_an_output_without_weights_stays_its_bias() -> None:
    small = compact(one_layer(np.zeros(4)), "int8")
    (image,) = simulate(small, np.ones((1, 1), np.float32))
    assert image.tolist() == [[0, 0, 0, 0]]


def test_a_weight_beyond_float16_is_refused_in_a_sentence() -> None:
    with pytest.raises(
        ExportError, match=r"^decoder: a weight of 70000 is above 65504, the largest float16; leave out"
    ):
        compact(one_layer(np.array([1.0, -7e4])), "fp16")
