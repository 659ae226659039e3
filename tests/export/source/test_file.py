"""`vae-export --module`: a user's file is imported because the user names it; weights are read without running code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import safetensors.torch as safetensors_torch
import torch
from click.testing import CliRunner, Result
from onnx import numpy_helper

from export.cli import export
from runtime.bundle import Bundle

ROOT = Path(__file__).parent.parent.parent.parent
MY_MODEL = ROOT / "examples" / "any-vae" / "my_model.py"
SHAPES = ("--latent-shape", "4,8,8", "--image-shape", "3,32,32", "--value-range", "-1,1")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(export, [str(argument) for argument in arguments])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    path = tmp_path / "photos.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8))
    return path


def weights(folder: Path, **changed: torch.Tensor) -> Path:
    state = {name: torch.zeros(shape) + 0.01 for name, shape in _shapes().items()}
    path = folder / "weights.pt"
    torch.save({"state_dict": {**state, **changed}}, path)
    return path


def _shapes() -> dict[str, tuple[int, ...]]:
    namespace: dict[str, object] = {"__name__": "my_model"}
    exec(MY_MODEL.read_text(), namespace)
    build = namespace["build"]
    assert callable(build)
    return {name: tuple(tensor.shape) for name, tensor in build().state_dict().items()}


def test_a_file_becomes_a_bundle_and_the_import_is_announced(photos: Path, tmp_path: Path) -> None:
    result = run(
        "--module", f"{MY_MODEL}:build", *SHAPES, "--images", photos, "--output", tmp_path / "b", "--format", "onnx"
    )
    assert result.exit_code == 0, result.output
    assert f"import  {MY_MODEL} and run it; weights are read without running code" in result.output
    assert Bundle.open(tmp_path / "b").manifest.latent_shape == (4, 8, 8)


@pytest.mark.parametrize(
    ("text", "function", "message"),
    [
        ("x = 1", "build", "has no function build"),
        ("def build(): return 3", "build", "should give a torch.nn.Module but gives a int"),
        ("def build(): raise ValueError('no file\\nhere')", "build", "ValueError: no file here"),
        ("import torch\ndef build(): return torch.nn.Identity()", "build", "which has no method decode"),
        ("def build(:", "build", "SyntaxError"),
    ],
)
def test_a_file_that_does_not_build_is_one_sentence(
    text: str, function: str, message: str, photos: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.py"
    path.write_text(text)
    result = run("--module", f"{path}:{function}", *SHAPES, "--images", photos, "--output", tmp_path / "b")
    assert result.exit_code == 1
    assert message in result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "b").exists()


def test_weights_that_do_not_match_are_named(photos: Path, tmp_path: Path) -> None:
    path = weights(tmp_path, **{"decoder.0.bias": torch.zeros(3), "other.weight": torch.zeros(1)})
    result = run("--module", f"{MY_MODEL}:build", "--weights", path, *SHAPES, "--images", photos)
    assert result.exit_code == 1
    assert "other.weight is not expected, decoder.0.bias should be (16,) but is (3,)" in result.output


def test_a_mixture_is_fitted_to_the_images_and_their_labels(tmp_path: Path) -> None:
    photos, labels = tmp_path / "photos.npy", tmp_path / "labels.npy"
    np.save(photos, np.random.default_rng(0).integers(0, 256, (100, 32, 32, 3), np.uint8))
    np.save(labels, np.arange(100) % 2 + 5)
    arguments = ("--module", f"{MY_MODEL}:build", *SHAPES, "--images", photos, "--output", tmp_path / "b")
    result = run(*arguments, "--format", "onnx", "--prior", "mixture", "--labels", labels)
    assert result.exit_code == 0, result.output
    prior = Bundle.open(tmp_path / "b").manifest.prior
    assert prior is not None
    assert prior.classes == ("5", "6")
    labels.write_text("5, 6")
    result = run(*arguments, "--prior", "mixture", "--labels", labels)
    assert result.exit_code == 1
    assert f"{labels}: cannot be read as an array of labels" in result.output


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_weights_of_a_file_are_those_of_the_bundle(suffix: str, photos: Path, tmp_path: Path) -> None:
    random = torch.Generator().manual_seed(1)
    state = {name: torch.randn(shape, generator=random) / 10 for name, shape in _shapes().items()}
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pt":
        torch.save(state, path)
    else:
        safetensors_torch.save_file(state, path)
    result = run(
        "--module", f"{MY_MODEL}:build", "--weights", path, *SHAPES, "--images", photos, "--output", tmp_path / "b",
        "--format", "onnx",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    tensors = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in onnx.load(tmp_path / "b" / "decoder.onnx").graph.initializer
    }
    np.testing.assert_array_equal(tensors["module.module.decoder.0.weight"], state["decoder.0.weight"].numpy())


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("open('ran', 'w')",)


def test_weights_are_read_without_running_code(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"decoder.0.weight": Harmful()}, tmp_path / "weights.pt")
    result = run("--module", f"{MY_MODEL}:build", "--weights", tmp_path / "weights.pt", *SHAPES, "--images", photos)
    assert result.exit_code == 1
    assert len(result.output.splitlines()) == 2  # that the module is imported, and why it ended
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--module", f"{MY_MODEL}:build"),
        ("--module", f"{MY_MODEL}:build", "--latent-shape", "4,8,8", "--image-shape", "3,32"),
        ("--module", f"{MY_MODEL}:build", "--latent-shape", "four", "--image-shape", "3,32,32"),
        ("--module", f"{MY_MODEL}:build", *SHAPES[:4], "--value-range", "1"),
        ("--latent-shape", "4,8,8"),
    ],
)
def test_options_that_do_not_go_together_are_bad_usage(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2, result.output
