"""`vae-sweep`: the grid, and resuming it."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from trainer.cli.sweep import sweep
from trainer.data.dataset import ImageData
from trainer.settings import PRESETS
from trainer.sweep.grid import make_grid


@pytest.fixture
def arguments(blobs: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("VAE_CACHE", str(tmp_path / "cache"))
    np.savez(tmp_path / "blobs.npz", images=blobs.train_images, labels=np.asarray(blobs.train_labels))
    return ["--dataset", str(tmp_path / "blobs.npz"), "--runs", str(tmp_path / "runs"), "--device", "cpu",
            "--epochs", "1", "--hidden", "8"]  # fmt: skip


def test_grid_has_every_combination_and_keeps_the_rest() -> None:
    base = PRESETS["tutorial"]
    grid = make_grid(base, [2, 8], [(512,), (64, 32)], [False, True])
    assert len(grid) == len(set(grid.values())) == 8
    assert grid["latent2-hidden512x512"] == replace(base, latent_dim=2, hidden=(512, 512))
    assert grid["latent8-hidden64x32-norm"] == replace(base, latent_dim=8, hidden=(64, 32), batch_norm=True)
    assert list(make_grid(base, [], [], []).values()) == [base]


def test_an_interrupted_sweep_is_resumed(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "runs" / "sweep"
    folder.mkdir(parents=True)
    (folder / "sweep.csv").write_text("mine")
    refused = CliRunner().invoke(sweep, [*arguments, "--latent-dim", "2"])
    assert (refused.exit_code, "vae-sweep did not write it" in refused.output) == (1, True), refused.output
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("sweep.csv", "mine")]
    first = CliRunner().invoke(sweep, [*arguments, "--latent-dim", "2", "--force"])
    assert first.exit_code == 0, first.output
    finished = (folder / "latent2-hidden8x8" / "last.pt").stat().st_mtime_ns
    (folder / "latent3-hidden8x8").mkdir()
    (folder / "latent3-hidden8x8" / "last.pt").write_text("what a killed process left")
    second = CliRunner().invoke(sweep, [*arguments, "--latent-dim", "2,3"])
    assert second.exit_code == 0, second.output
    assert (folder / "latent2-hidden8x8" / "last.pt").stat().st_mtime_ns == finished
    with (folder / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["latent_dim"] for row in rows] == ["2", "3"]
    assert all(float(row["nll"]) > 0 for row in rows)
    assert (folder / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert max(map(len, second.output.split("\nwrote")[0].splitlines()[1:])) <= 80


def test_cells_with_other_settings_are_not_reused(arguments: list[str]) -> None:
    assert CliRunner().invoke(sweep, arguments).exit_code == 0
    result = CliRunner().invoke(sweep, [*arguments, "--seed", "1"])
    assert result.exit_code == 1
    assert "was trained with seed 0 instead of 1; choose another --name" in result.output


@pytest.mark.parametrize(
    ("option", "value"), [("--latent-dim", "2,x"), ("--latent-dim", "2x3"), ("--hidden", "0"), ("--batch-norm", "yes")]
)
def test_senseless_grids_are_bad_usage(arguments: list[str], option: str, value: str) -> None:
    result = CliRunner().invoke(sweep, [*arguments, option, value])
    assert result.exit_code == 2
    assert repr(value) in result.output or value in result.output


@pytest.mark.parametrize("name", ["", ".", "latest", "a/b"])
def test_the_name_of_a_sweep_is_a_plain_folder_name(arguments: list[str], tmp_path: Path, name: str) -> None:
    result = CliRunner().invoke(sweep, [*arguments, "--name", name])
    assert (result.exit_code, "should be a plain folder name" in result.output) == (1, True), result.output
    assert not (tmp_path / "runs").exists()
