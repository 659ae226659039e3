"""Somebody's modules as C, by the command of the documentation: the pixels are those of their PyTorch modules."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from export.cli import export
from runtime.bundle import Bundle
from runtime.c_library import Library
from runtime.noise import standard_normal
from tests.hosts.helpers import ROOT, missing

MODULE = ROOT / "examples" / "any-vae" / "my_model.py"


@pytest.fixture(scope="module")
def model() -> nn.Module:
    """The hand-written VAE of the examples: group normalisation, SiLU, transposed convolutions."""
    built: nn.Module = runpy.run_path(str(MODULE))["build"]()
    return built.eval()


@pytest.fixture(scope="module")
def folder(model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its bundle."""
    here = tmp_path_factory.mktemp("foreign")
    save_file(model.state_dict(), here / "my_model.safetensors")
    (here / "photos").mkdir()
    for number, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)):
        Image.fromarray(pixels).save(here / "photos" / f"{number}.png")
    command = (
        f"--module {MODULE}:build --weights {here}/my_model.safetensors --latent-shape 4,8,8 --image-shape 3,32,32"
    )
    command += f" --value-range -1,1 --images {here}/photos --format onnx --format c --output {here}/bundle"
    result = CliRunner().invoke(export, command.split())
    assert result.exit_code == 0, result.output
    return here / "bundle"


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_the_pixels_are_those_of_the_module(compiler: str, model: nn.Module, folder: Path) -> None:
    if shutil.which(compiler) is None:
        missing(f"{compiler} is not installed")
    bundle = Bundle.open(folder)
    files = {name: bundle.read(name) for name in ("generator.h", "generator.c")}
    library = Library(files, (compiler,), ("-O3", "-Wall", "-Wextra", "-Werror", "-pedantic", "-shared", "-fPIC"))
    indices = np.arange(5)
    z = standard_normal(3, indices, 4 * 8 * 8)
    with torch.no_grad():
        decode = model.double().decode
        images = (decode(torch.from_numpy(z).double().reshape(-1, 4, 8, 8)).numpy() + 1) / 2  # type: ignore[operator]
    np.testing.assert_allclose(library.decode(z, (3, 32, 32)), images, rtol=0, atol=2e-6)
    levels = np.rint(255 * images.transpose(0, 2, 3, 1))
    assert np.abs(library.sample(3, indices, (32, 32, 3)) - levels).max() <= 1
