"""The recipes of examples/any-vae run: each ends in a bundle that verifies, and that Node draws from.

VAE_ANY_VAE_PYTHON names a Python that has pythae and diffusers besides this project; without it, this Python is taken.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.c_source.write import read_networks, write_c
from export.errors import ExportError
from runtime import Sampler
from runtime.bundle import Bundle
from runtime.c_library import Library, find_compiler
from runtime.golden import read_golden
from runtime.manifest import C_HEADER_NAME, C_SOURCE_NAME
from runtime.verify import verify_bundle
from tests.hosts.helpers import NODE_EXAMPLE, ROOT, missing, run

RECIPES = {"hand_written": "torch", "decoder_alone": "torch", "pythae_vae": "pythae", "diffusers_vae": "diffusers"}
FOLDER = ROOT / "examples" / "any-vae"
MOST_LINES = 20


@pytest.fixture(scope="module", params=RECIPES)
def recipe_bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    python = os.environ.get("VAE_ANY_VAE_PYTHON", sys.executable)
    package = RECIPES[request.param]
    if subprocess.run([python, "-c", f"import {package}"], capture_output=True).returncode:
        missing(f"{python} has no {package}")
    folder = tmp_path_factory.mktemp(request.param) / "bundle"
    run(python, FOLDER / f"{request.param}.py", folder, env={"PYTHONPATH": str(ROOT)}, timeout=280)
    return folder


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_at_most_20_lines_of_code(recipe: str) -> None:
    text = (FOLDER / f"{recipe}.py").read_text(encoding="utf-8")
    code = [line for line in text.splitlines() if line.strip() and not line.startswith(('"""', "import ", "from "))]
    assert len(code) <= MOST_LINES
    assert ast.parse(text)


def test_a_recipe_ends_in_a_bundle_that_verifies(recipe_bundle: Path) -> None:
    report = verify_bundle(recipe_bundle)
    assert report.passed, [check for check in report.checks if not check.passed]
    assert Sampler(recipe_bundle).sample(3, seed=1).std() > 0


def test_a_recipe_is_written_as_c_or_refused_by_an_operator(recipe_bundle: Path) -> None:
    bundle = Bundle.open(recipe_bundle)
    encoder = bundle.read("encoder.onnx") if "encoder" in bundle.manifest.graphs else None
    if "diffusers" in str(recipe_bundle):
        with pytest.raises(ExportError, match=r"operator Transpose \(\w+\), and C source has no such layer"):
            read_networks(bundle.read("decoder.onnx"), encoder)
        return
    compiler = find_compiler()
    if compiler is None:
        missing("cc is not installed")
    sources = write_c(read_networks(bundle.read("decoder.onnx"), encoder), bundle.manifest.metadata)
    library = Library({C_HEADER_NAME: sources.header.encode(), C_SOURCE_NAME: sources.source.encode()}, compiler)
    golden = read_golden(bundle)
    images = library.decode(golden["latents"], bundle.manifest.metadata.image_shape)
    np.testing.assert_allclose(images, golden["decoder_image"], rtol=0, atol=2e-6)


def test_the_branch_of_diffusers_on_its_batch_is_recorded(recipe_bundle: Path) -> None:
    manifest = Bundle.open(recipe_bundle).manifest
    assert manifest.largest_batch == (63 if "diffusers" in str(recipe_bundle) else None)


def test_node_draws_the_same_picture(recipe_bundle: Path, node: str, tmp_path: Path) -> None:
    run(node, NODE_EXAMPLE / "sample.mjs", recipe_bundle, 7, 5, tmp_path / "node.png")
    expected = Sampler(recipe_bundle).sample_indices([5], seed=7)[0]
    with Image.open(tmp_path / "node.png") as image:
        found = np.asarray(image).reshape(expected.shape)
    assert np.abs(found.astype(int) - expected).max() <= 1
