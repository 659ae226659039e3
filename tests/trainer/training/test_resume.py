"""Runs that were killed or interrupted, or failed, can be resumed without a difference in the result."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from runtime.errors import OutputError
from trainer.checkpoint import Checkpoint, load_checkpoint
from trainer.cli.train import train
from trainer.data.dataset import ImageData
from trainer.errors import CheckpointError, SettingsError, TrainingError
from trainer.settings import Settings
from trainer.training.loop import fit
from trainer.training.resume import check_resumable
from trainer.training.run_folder import Run
from trainer.training.state import TrainingState
from trainer.training.steps.gemm import BLAS, ONEDNN

CPU = torch.device("cpu")
OPTIONS = ["--hidden", "8", "--latent-dim", "3", "--batch-size", "16", "--threads", "1"]


def run_fit(settings: Settings, data: ImageData, run: Run, checkpoint: Checkpoint | None = None) -> Checkpoint:
    *_, last = fit(settings, data, run, checkpoint=checkpoint)
    return last


def assert_same_bits(one: Path, other: Path) -> None:
    first, second = load_checkpoint(one), load_checkpoint(other)
    assert first.epoch == second.epoch
    assert all(torch.equal(tensor, second.model_state[name]) for name, tensor in first.model_state.items())
    averages = [checkpoint.optimizer_state.get("average") for checkpoint in (first, second)]
    assert (averages[0] is None) == (averages[1] is None)
    if averages[0] is not None and averages[1] is not None:
        assert averages[0]["steps"] == averages[1]["steps"]
        assert torch.equal(averages[0]["weights"], averages[1]["weights"])
        assert not torch.equal(averages[0]["weights"][:3], torch.zeros(3))
    states = [checkpoint.optimizer_state["state"][0] for checkpoint in (first, second)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert [metrics.test_loss for metrics in first.history] == [metrics.test_loss for metrics in second.history]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A .npy file of 240 small images."""
    path = tmp_path / "images.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (240, 8, 8), np.uint8))
    return path


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn off the pictures of a run, which take longer than these tests."""
    monkeypatch.setattr("trainer.pictures.draw_run", lambda *arguments: [])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"network": "conv", "batch_norm": True, "hidden": (3, 4)},
        {"bound": "dreg", "draws": 3, "binarize": "dynamic"},
        {
            "network": "conv4x4",
            "activation": "silu",
            "hidden": (3, 4),
            "likelihood": "calibrated-gaussian",
            "average": 0.9,
            "augment": "flip",
        },
    ],
    ids=["mlp", "conv with batch norm", "dreg", "photo"],
)
def test_a_resumed_run_is_bit_identical_to_an_uninterrupted_one(
    changes: dict[str, object], tiny_settings: Settings, blobs: ImageData, tmp_path: Path
) -> None:
    settings = replace(tiny_settings, epochs=4, kl_warmup=3.0, **changes)  # type: ignore[arg-type]
    whole, parts = Run(tmp_path / "whole"), Run(tmp_path / "parts")
    run_fit(settings, blobs, whole)
    run_fit(replace(settings, epochs=2), blobs, parts)
    run_fit(settings, blobs, parts, load_checkpoint(parts.last))
    assert_same_bits(whole.last, parts.last)
    assert_same_bits(whole.best, parts.best)


def test_a_run_killed_at_any_moment_and_resumed_is_bit_identical_to_an_uninterrupted_one(
    images: Path, tmp_path: Path, without_pictures: None
) -> None:
    """Kills hit any moment of an epoch or of writing its checkpoint."""
    arguments = ["--dataset", str(images), *OPTIONS, "--runs", str(tmp_path)]
    killed = tmp_path / "killed"
    moments = random.Random(5)
    kill_in_training([*arguments, "--epochs", "4000", "--name", "killed"], moments)
    kill_in_training(["--resume", str(killed)], moments)
    # A short end, so that the test is: how far to go is only said now.
    total = str(load_checkpoint(killed / "last.pt").epoch + 2)
    assert CliRunner().invoke(train, ["--resume", str(killed), "--epochs", total]).exit_code == 0
    assert CliRunner().invoke(train, [*arguments, "--epochs", total, "--name", "unbroken"]).exit_code == 0
    assert_same_bits(killed / "last.pt", tmp_path / "unbroken" / "last.pt")
    assert_same_bits(killed / "best.pt", tmp_path / "unbroken" / "best.pt")
    assert not list(killed.glob(".*.part"))


def kill_in_training(arguments: list[str], moments: random.Random) -> None:
    """Start vae-train in a child process, let it train for a few epochs, and send it SIGKILL."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", "from trainer.cli.train import train; train()", *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    epochs = moments.randint(1, 6)
    rows = (line for line in process.stdout if line.strip()[:1].isdigit())
    for _ in range(epochs):
        next(rows)
    time.sleep(moments.uniform(0, 0.05))
    process.send_signal(signal.SIGKILL)
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL


def test_an_interrupted_run_says_how_to_resume(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("trainer.training.collapse.collapse_warning", interrupt)  # after the first epoch
    arguments = ["--dataset", str(images), *OPTIONS, "--epochs", "3", "--runs", str(tmp_path)]
    result = CliRunner().invoke(train, arguments)
    assert result.exit_code == 1
    assert f"resume with: vae-train --resume {tmp_path / 'images-tutorial-1'}" in result.output
    monkeypatch.undo()
    result = CliRunner().invoke(train, ["--resume", str(tmp_path / "latest")])
    assert result.exit_code == 0, result.output
    assert "resuming after epoch 1" in result.output
    assert load_checkpoint(tmp_path / "latest" / "last.pt").epoch == 3


def test_the_config_of_a_run_reproduces_it_bit_for_bit(images: Path, tmp_path: Path, without_pictures: None) -> None:
    runner = CliRunner()
    arguments = ["--dataset", str(images), *OPTIONS, "--clip-norm", "0", "--batch-norm", "--epochs", "2"]
    assert runner.invoke(train, [*arguments, "--runs", str(tmp_path), "--name", "a"]).exit_code == 0
    again = ["--config", str(tmp_path / "a" / "config.toml"), "--runs", str(tmp_path), "--name", "b"]
    assert runner.invoke(train, again).exit_code == 0
    assert_same_bits(tmp_path / "a" / "last.pt", tmp_path / "b" / "last.pt")
    assert (tmp_path / "a" / "config.toml").read_bytes() == (tmp_path / "b" / "config.toml").read_bytes()


def test_unknown_key_in_a_config_is_an_error_with_the_nearest_name(tmp_path: Path) -> None:
    config = tmp_path / "mine.toml"
    config.write_text("latent_dims = 3\n")
    result = CliRunner().invoke(train, ["--config", str(config)])
    assert result.exit_code == 2
    assert "there is no option 'latent_dims'; the nearest is 'latent-dim'" in " ".join(result.output.split())


def test_the_command_line_overrides_the_config(images: Path, tmp_path: Path, without_pictures: None) -> None:
    config = tmp_path / "mine.toml"
    config.write_text(f'dataset = "{images}"\nhidden = "8"\nlatent-dim = 3\nepochs = 5\nthreads = 1\n')
    arguments = ["--config", str(config), "--epochs", "1", "--runs", str(tmp_path), "--name", "a"]
    result = CliRunner().invoke(train, arguments)
    assert result.exit_code == 0, result.output
    settings = load_checkpoint(tmp_path / "a" / "last.pt").settings
    assert (settings.epochs, settings.latent_dim, settings.hidden) == (1, 3, (8,))


def test_other_settings_or_data_are_named_and_refused(tiny_run: Run, blobs: ImageData) -> None:
    checkpoint = load_checkpoint(tiny_run.last)
    check_resumable(replace(checkpoint.settings, epochs=9), blobs.sha256, checkpoint)
    with pytest.raises(SettingsError, match=r"batch_size is 7 but was 50; seed is 3 but was 0; the data have the hash"):
        check_resumable(replace(checkpoint.settings, batch_size=7, seed=3), "0" * 64, checkpoint)
    with pytest.raises(SettingsError, match="epochs is 1 but was 8"):
        check_resumable(replace(checkpoint.settings, epochs=1), blobs.sha256, checkpoint)
    cosine = replace(checkpoint, settings=replace(checkpoint.settings, schedule="cosine"))
    check_resumable(replace(cosine.settings, epochs=9, patience=3), blobs.sha256, cosine)


def test_a_full_disk_loses_nothing_already_saved(
    tiny_settings: Settings, blobs: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path / "run")
    epochs = fit(tiny_settings, blobs, run)
    next(epochs)
    before = run.last.read_bytes()

    def refuse(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OutputError, match=r"last\.pt: No space left on device"):
        next(epochs)
    assert run.last.read_bytes() == before
    assert sorted(path.name for path in run.folder.iterdir()) == ["best.pt", "history.csv", "history.jsonl", "last.pt"]


def test_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(
    tiny_settings: Settings, blobs: ImageData, tmp_path: Path
) -> None:
    run = Run(tmp_path / "run")
    run_fit(replace(tiny_settings, epochs=1), blobs, run)
    good = load_checkpoint(run.last)
    wild = replace(good, settings=replace(good.settings, learning_rate=1e18, clip_norm=None, epochs=3))
    with pytest.raises(TrainingError, match=r"in epoch 2 no longer finite: train_loss .*; .*last\.pt holds epoch 1"):
        run_fit(wild.settings, blobs, run, wild)
    assert load_checkpoint(run.last).epoch == 1


def test_missing_tensorboard_is_reported_before_anything_is_written(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.training.tensorboard.find_spec", lambda name: None)
    result = CliRunner().invoke(train, ["--dataset", str(images), "--tensorboard", "--runs", str(tmp_path / "runs")])
    assert result.exit_code == 1
    assert "vae-toolchain[tensorboard]" in result.output
    assert not (tmp_path / "runs").exists()


def test_fit_refuses_a_checkpoint_without_the_state_of_adam(
    tiny_settings: Settings, tiny_run: Run, blobs: ImageData, tmp_path: Path
) -> None:
    stripped = replace(load_checkpoint(tiny_run.last), optimizer_state={})
    with pytest.raises(CheckpointError, match="the state of Adam should be"):
        run_fit(replace(tiny_settings, epochs=9), blobs, Run(tmp_path / "run"), stripped)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("library", [ONEDNN, BLAS])
def test_a_resumed_run_keeps_the_library_of_its_products(library: str, tiny_settings: Settings, tiny_run: Run) -> None:
    checkpoint = load_checkpoint(tiny_run.last)
    checkpoint = replace(checkpoint, optimizer_state={**checkpoint.optimizer_state, "products": library})
    resumed = TrainingState.start(checkpoint.build_model(), tiny_settings, checkpoint=checkpoint)
    assert resumed.step.library == library
    assert resumed.optimizer_state()["products"] == library


def test_unknown_library_of_products_is_refused(
    tiny_settings: Settings, tiny_run: Run, blobs: ImageData, tmp_path: Path
) -> None:
    checkpoint = load_checkpoint(tiny_run.last)
    odd = replace(checkpoint, optimizer_state={**checkpoint.optimizer_state, "products": ["onednn"]})
    with pytest.raises(CheckpointError, match="its products should be by onednn or blas"):
        run_fit(replace(tiny_settings, epochs=9), blobs, Run(tmp_path / "run"), odd)


def test_early_stopping_is_the_same_in_parts_as_in_one(
    tiny_settings: Settings, blobs: ImageData, tmp_path: Path
) -> None:
    """A rate that is too high: the test loss soon no longer falls."""
    settings = replace(tiny_settings, learning_rate=0.3, epochs=60, patience=2)
    whole, parts = Run(tmp_path / "whole"), Run(tmp_path / "parts")
    stopped = run_fit(settings, blobs, whole)
    assert stopped.epoch < 60
    assert stopped.epoch == load_checkpoint(whole.best).epoch + 2
    run_fit(replace(settings, epochs=stopped.epoch - 1), blobs, parts)
    run_fit(settings, blobs, parts, load_checkpoint(parts.last))
    assert_same_bits(whole.last, parts.last)
    assert list(fit(settings, blobs, parts, checkpoint=load_checkpoint(parts.last))) == []


def test_run_with_an_average_but_without_its_weights_is_not_resumed(
    tiny_settings: Settings, blobs: ImageData, tmp_path: Path
) -> None:
    settings = replace(tiny_settings, average=0.9, epochs=1)
    checkpoint = run_fit(settings, blobs, Run(tmp_path / "run"))
    state = {key: value for key, value in checkpoint.optimizer_state.items() if key != "average"}
    with pytest.raises(CheckpointError, match="it has the average of the weights but not the weights themselves"):
        run_fit(replace(settings, epochs=2), blobs, Run(tmp_path / "b"), replace(checkpoint, optimizer_state=state))


def test_extended_cosine_run_says_at_which_rate_it_goes_on(
    images: Path, tmp_path: Path, without_pictures: None
) -> None:
    arguments = ["--dataset", str(images), *OPTIONS, "--schedule", "cosine", "--epochs", "2", "--runs", str(tmp_path)]
    assert CliRunner().invoke(train, arguments).exit_code == 0
    result = CliRunner().invoke(train, ["--resume", str(tmp_path / "latest"), "--epochs", "4"])
    assert result.exit_code == 0, result.output
    assert "the cosine now falls over 4 epochs instead of 2:\n" in result.output
    assert "epoch 3 trains at 0.0005, after 0.0005 in epoch 2\n" in result.output
