"""The C source gives the same bits with every compiler and processor: those of the NumPy model of its arithmetic."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from export.c_source.self_test import floats_of, pixels_of
from export.c_source.simulate import simulate
from runtime.noise import standard_normal
from tests.export.c_source.conftest import CONFIGS, FOREIGN, Written
from tests.hosts.helpers import missing

HERE = Path(__file__).parent
IMAGES = 21
INDICES = 4294967291 + 7919 * np.arange(IMAGES)
SEED, TEMPERATURE = 5, np.float32(1.25)
STRICT = ("-Wall", "-Wextra", "-Werror", "-pedantic")


@dataclass(frozen=True)
class Build:
    """A compiler with its flags, and what runs the program."""

    compiler: str
    flags: tuple[str, ...]
    emulator: str | None = None
    byte_order: Literal["<", ">"] = "<"

    def __str__(self) -> str:
        return " ".join([self.compiler, *self.flags])


BUILDS = [
    Build("gcc", ("-O0",)),
    Build("gcc", ("-O1", "-std=c99")),
    Build("gcc", ("-O2",)),
    Build("gcc", ("-O3", "-march=native")),
    Build("gcc", ("-O3", "-march=x86-64-v3", "-ffp-contract=fast")),
    Build("gcc", ("-O3", "-march=x86-64-v3", "-flto")),
    Build("clang", ("-O0",)),
    Build("clang", ("-O2", "-std=c99")),
    Build("clang", ("-O3", "-march=native")),
    Build("aarch64-linux-gnu-gcc", ("-O2", "-static"), "qemu-aarch64"),
    Build("aarch64-linux-gnu-gcc", ("-O3", "-static", "-std=gnu17"), "qemu-aarch64"),
    Build("arm-linux-gnueabihf-gcc", ("-O2", "-static"), "qemu-arm"),
    Build("arm-linux-gnueabihf-gcc", ("-O3", "-static", "-mfpu=neon-vfpv4"), "qemu-arm"),
    Build("s390x-linux-gnu-gcc", ("-O2", "-static"), "qemu-s390x", ">"),
]
WASM = [(), ("-msimd128",)]


# Every model, and two of them with smaller weights: odd sizes, several channels, both kinds of layer.
MODELS = [
    *((name, "float32") for name in (*CONFIGS, FOREIGN)),
    *((name, storage) for name in ("deep colour mlp", "colour conv") for storage in ("int8", "fp16")),
]


@pytest.fixture(params=MODELS, ids=", ".join)
def model(request: pytest.FixtureRequest, written: Callable[..., Written]) -> Written:
    return written(*request.param)


@pytest.mark.parametrize("build", BUILDS, ids=str)
def test_every_compiler_and_processor_gives_the_same_bits(build: Build, model: Written, tmp_path: Path) -> None:
    for program in (build.compiler, build.emulator):
        if program and shutil.which(program) is None:
            missing(f"{program} is not installed")
    model.save(tmp_path)
    command = [build.compiler, *STRICT, *build.flags, "-I", tmp_path, HERE / "probe.c", tmp_path / "generator.c"]
    subprocess.run([*map(str, command), "-o", str(tmp_path / "probe")], check=True)
    emulator = [build.emulator] if build.emulator else []
    found = subprocess.run([*emulator, tmp_path / "probe"], check=True, stdout=subprocess.PIPE).stdout
    assert found == expected(model, build.byte_order)


@pytest.mark.parametrize("flags", WASM, ids=["plain", "simd128"])
def test_webassembly_gives_the_same_bits(flags: tuple[str, ...], model: Written, tmp_path: Path) -> None:
    for program in ("clang", "wasm-ld", "node"):
        if shutil.which(program) is None:
            missing(f"{program} is not installed")
    model.save(tmp_path)
    options = ["--target=wasm32", "-O2", "-ffreestanding", "-nostdlib", "-Wl,--no-entry", "-Wl,--export-all"]
    options += ["-Wl,-z,stack-size=1048576", *STRICT, *flags]
    subprocess.run(["clang", *options, tmp_path / "generator.c", "-o", tmp_path / "generator.wasm"], check=True)
    sizes = map(str, (model.metadata.latent_dim, np.prod(model.metadata.image_shape)))
    command = ["node", str(HERE / "probe.mjs"), str(tmp_path / "generator.wasm"), *sizes]
    assert subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout == expected(model)


def expected(model: Written, byte_order: Literal["<", ">"] = "<") -> bytes:
    """What the probe writes, by the NumPy model and NumPy's noise."""
    channels, height, width = model.metadata.image_shape

    def planes(images: np.ndarray) -> np.ndarray:
        return images.reshape(-1, height, width, channels).transpose(0, 3, 1, 2)

    ok = np.zeros(1, np.int32)
    z = standard_normal(SEED, INDICES, model.metadata.latent_dim) * TEMPERATURE
    (images,) = simulate(model.decoder, z)
    pixels = pixels_of(images)
    mean, log_var = simulate(model.encoder, images[:3])
    (reconstruction,) = simulate(model.decoder, simulate(model.encoder, floats_of(pixels[:3]))[0])
    parts = [ok, z, pixels, planes(images)]
    for i in range(3):
        parts += [ok, mean[i], log_var[i], pixels_of(reconstruction[i : i + 1]), ok, pixels[i], planes(images[i])]
    return b"".join(part.astype(part.dtype.newbyteorder(byte_order)).tobytes() for part in parts)
