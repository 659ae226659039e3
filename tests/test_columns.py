"""What the commands print fits into a terminal of 80 columns."""

from __future__ import annotations

import importlib
import tomllib
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from trainer.data.dataset import ImageData

ROOT = Path(__file__).parent.parent
SCRIPTS: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
COLUMNS = 80


def command_of(script: str) -> click.Command:
    module, name = SCRIPTS[script].split(":")
    command = getattr(importlib.import_module(module), name)
    assert isinstance(command, click.Command)
    return command


def too_long(text: str) -> list[str]:
    """Lines over 80 columns. A paragraph that names a path cannot keep to them; paths of these tests are short."""
    return [line for line in text.splitlines() if len(line) > COLUMNS]


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_fits(script: str) -> None:
    result = CliRunner().invoke(command_of(script), ["--help"], terminal_width=COLUMNS)
    assert result.exit_code == 0
    assert too_long(result.output) == []


def test_what_the_commands_print_fits(blobs: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VAE_CACHE", str(tmp_path / "cache"))
    colour = np.repeat(blobs.train_images[:200], 3, axis=3)
    np.savez("a.npz", images=colour, labels=np.asarray(blobs.train_labels)[:200])
    Image.fromarray(colour[0]).save("a.png")
    few = "--k 10 --images 4 --samples 8 --threads 1"
    for line in (
        "vae-train --dataset a.npz --epochs 2 --hidden 4 --latent-dim 20 --name r --patience 1 --threads 1",
        "vae-train --resume runs/r --epochs 3",
        f"vae-evaluate runs/r {few}",
        "vae-export --checkpoint runs/r/best.pt --format onnx",
        "vae-sample runs/r/bundle --by-class --num 3",
        "vae-sample runs/r/bundle --num 7 --output b.npy",
        "vae-reconstruct a.png --bundle runs/r/bundle",
        "vae-reconstruct --traverse a.png --bundle runs/r/bundle --top 2",
        "vae-verify runs/r/bundle",
    ):
        script, *arguments = line.split()
        result = CliRunner().invoke(command_of(script), arguments)
        assert result.exit_code == 0, result.output
        assert too_long(result.output) == [], line
