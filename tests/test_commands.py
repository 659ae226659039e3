"""The commands as a user runs them: the whole workflow, the help texts, and errors."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainer.data.dataset import ImageData

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent


def run(*command: object, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    program, *arguments = map(str, command)
    environment = {key: value for key, value in os.environ.items() if key != "VAE_DATA"} | (env or {})
    return subprocess.run(
        [BIN / program, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120
    )


def one_sentence(result: subprocess.CompletedProcess[str], code: int, message: str) -> None:
    """Check that the command ended with exit code `code` and a one-line message without a traceback."""
    assert result.returncode == code, result.stderr
    *usage, error = result.stderr.strip().splitlines()
    assert error.startswith("Error: ")
    assert re.search(message, error), error
    assert "Traceback" not in result.stderr
    assert all(line.startswith(("Usage:", "Try ")) or not line for line in usage)


def test_train_export_sample_and_reconstruct_work_in_a_row(tmp_path: Path, blobs: ImageData) -> None:
    np.savez(tmp_path / "blobs.npz", images=blobs.train_images, labels=np.asarray(blobs.train_labels))
    trained = run("vae-train", "--dataset", "blobs.npz", "--epochs", 1, "--hidden", "16,8", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert "144-16-8-32" in trained.stdout
    folder = tmp_path / "runs" / "latest"
    assert {path.name for path in folder.iterdir()} >= {"best.pt", "last.pt", "history.csv", "pictures", "test_images"}

    exported = run("vae-export", "--format", "onnx", cwd=tmp_path)
    assert exported.returncode == 0, exported.stderr
    assert (folder / "bundle" / "decoder.onnx").is_file()

    sampled = run("vae-sample", cwd=tmp_path)
    assert sampled.returncode == 0, sampled.stderr
    with Image.open(tmp_path / "samples.png") as image:
        assert image.size == (3 * (8 * 14 + 2), 3 * (8 * 14 + 2))

    again = run("vae-sample", "--num", 3, "--first", 2, "--output", "a.npy", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    with Image.open(tmp_path / "samples.png") as image:
        grid = np.asarray(image)[::3, ::3]
    array = np.load(tmp_path / "a.npy")
    assert array.shape == (3, 12, 12, 1)
    for i, column in enumerate((2, 3, 4)):
        shown = grid[2:14, 2 + 14 * column : 14 + 14 * column].astype(int)
        assert np.abs(shown - array[i, :, :, 0]).max() <= 1

    reconstructed = run("vae-reconstruct", "runs/latest/test_images/0.png", cwd=tmp_path)
    assert reconstructed.returncode == 0, reconstructed.stderr
    with Image.open(tmp_path / "reconstruction.png") as image:
        assert min(image.size) >= 3 * 12


def test_a_missing_run_gives_one_sentence(tmp_path: Path) -> None:
    one_sentence(run("vae-export", cwd=tmp_path), 1, "no such file; train a model with vae-train")
    one_sentence(run("vae-sample", cwd=tmp_path), 1, "make a bundle with vae-export")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--preset", "kigma"], 2, "'kigma' is not one of 'kingma', 'tutorial'"),
        (["--epochs", "0"], 2, "--epochs"),
        (["--hidden", "512,x"], 2, "as in 512,512"),
        (["--learning-rate", "0"], 2, "--learning-rate"),
        (["--data-dir", "nowhere"], 1, "the data folder nowhere does not exist"),
        (["--dataset", "nowhere.npy"], 1, r"nowhere\.npy: cannot be read"),
        (["--dataset", "range.npy"], 1, r"floats should be in \[0, 1\] without NaN but range from 0 to 255"),
        (["--dataset", "nan.npy"], 1, r"floats should be in \[0, 1\] without NaN"),
        (["--data-dir", "data"], 1, "train-images-idx3-ubyte: should hold"),
        (["--dataset", "good.npy", "--name", "../x"], 1, "plain folder name"),
        (["--dataset", "good.npy", "--runs", "good.npy"], 1, "cannot write to good.npy"),
    ],
)
def test_invalid_training_input_gives_one_sentence(
    tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    random = np.random.default_rng(0)
    np.save(tmp_path / "good.npy", random.integers(0, 256, (20, 4, 4), np.uint8))
    np.save(tmp_path / "range.npy", np.linspace(0, 255, 20 * 16).reshape(20, 4, 4))
    np.save(tmp_path / "nan.npy", np.full((20, 4, 4), np.nan))
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (raw / f"{name}-ubyte").write_bytes(struct.pack(">HBBI", 0, 8, 1, 1000))
    one_sentence(run("vae-train", *arguments, cwd=tmp_path), code, message)
    assert not (tmp_path / "runs").exists()


def test_cuda_without_a_gpu_gives_one_sentence(tmp_path: Path) -> None:
    result = run("vae-train", "--device", "cuda", cwd=tmp_path, env={"CUDA_VISIBLE_DEVICES": ""})
    one_sentence(result, 1, "torch finds no CUDA device")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--num", "0"], 2, "--num"),
        (["--seed", "-1"], 2, "--seed"),
        (["--output", "a.jpg"], 2, r"should end in \.png, \.npy or \.npz"),
        (["--output", "a.png/b.png"], 1, "cannot write a.png/b.png"),
        (["--output", "a.png/b.npy"], 1, "cannot write a.png/b.npy"),
    ],
)
def test_invalid_sampling_input_gives_one_sentence(
    bundle: Path, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    (tmp_path / "a.png").write_text("no folder")
    one_sentence(run("vae-sample", bundle, *arguments, cwd=tmp_path), code, message)
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "bundle"}


def test_a_file_that_is_not_an_image_gives_one_sentence(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no image")
    for path, message in (("a.png", "a.png: cannot be read as an image"), ("b.png", "b.png: no such file")):
        one_sentence(run("vae-reconstruct", path, "--bundle", bundle, cwd=tmp_path), 1, message)
    assert not (tmp_path / "reconstruction.png").exists()


def test_a_manifest_that_does_not_match_its_graphs_gives_one_sentence(bundle: Path, tmp_path: Path) -> None:
    path = bundle / "manifest.json"
    path.write_text(path.read_text().replace('"z"', '"latent"'))
    one_sentence(run("vae-sample", bundle, cwd=tmp_path), 1, "decoder.inputs should be 'z' .* but is 'latent'")


def test_a_file_that_is_not_a_checkpoint_gives_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"PK\x03\x04 truncated")
    one_sentence(run("vae-export", "--checkpoint", "a.pt", cwd=tmp_path), 1, "a.pt: cannot be read as a checkpoint")
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


SCRIPTS = sorted(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"])


@pytest.mark.parametrize("command", SCRIPTS)
def test_every_command_has_help_that_shows_its_defaults(command: str, tmp_path: Path) -> None:
    result = run(command, "--help", cwd=tmp_path)
    assert result.returncode == 0
    assert result.stdout.startswith(f"Usage: {command}")
    assert "default" in result.stdout


def test_every_command_of_the_readme_exists(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    assert set(re.findall(r"\bvae-[a-z]+\b", readme)) - {"vae-toolchain"} == set(SCRIPTS)
    targets = set(re.findall(r"\bmake ([a-z-]+)", " ".join(re.findall(r"```sh(.*?)```", readme, re.DOTALL))))
    assert targets
    makefile = (ROOT / "Makefile").read_text()
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
