"""Training reduces the loss, depends only on its seed, and saves each epoch."""

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from trainer.checkpoint import load_checkpoint
from trainer.data.dataset import ImageData
from trainer.device import choose_device
from trainer.errors import SettingsError, TrainingError
from trainer.model.vae import ModelConfig, build_model
from trainer.objective.bound import Objective
from trainer.objective.score import evaluate
from trainer.settings import Settings
from trainer.training.epoch import train_epoch
from trainer.training.execution import Execution
from trainer.training.loop import fit
from trainer.training.run_folder import Run
from trainer.training.state import TrainingState

CPU = torch.device("cpu")


def test_the_loss_falls_and_every_epoch_is_saved(tmp_path: Path, blobs: ImageData, tiny_settings: Settings) -> None:
    run = Run.create(tmp_path / "runs", "a", "unused")
    settings = dataclasses.replace(tiny_settings, epochs=20)
    seen = []
    for checkpoint in fit(settings, blobs, run):
        assert load_checkpoint(run.last).epoch == checkpoint.epoch
        seen.append(checkpoint.history[-1].test_loss)
    mean = np.clip(blobs.train_images.mean(0) / 255, 1e-6, 1 - 1e-6)
    image = blobs.test_images / 255
    without_latents = -(image * np.log(mean) + (1 - image) * np.log1p(-mean)).sum((1, 2, 3)).mean()
    assert seen[-1] < 0.9 * without_latents  # `without_latents`: the lowest loss of a decoder that ignores its latents
    assert seen[-1] < seen[0]
    with (run.folder / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == [str(epoch) for epoch in range(1, 21)]
    assert [float(row["test_loss"]) for row in rows] == pytest.approx(seen, rel=1e-5)
    for row in rows:
        assert float(row["test_loss"]) == pytest.approx(float(row["test_reconstruction"]) + float(row["test_kl"]), 1e-5)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    tmp_path: Path, blobs: ImageData, tiny_settings: Settings
) -> None:
    def weights(name: str, seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(hash(name))  # the global state must not matter
        run = Run.create(tmp_path / "runs", name, "unused")
        *_, last = fit(dataclasses.replace(tiny_settings, seed=seed), blobs, run)
        return last.model_state

    first, second, other = weights("a", 1), weights("b", 1), weights("c", 2)
    assert all((first[name] == second[name]).all() for name in first)
    assert all((first[name] != other[name]).any() for name in first)


def test_each_image_is_used_once_an_epoch(blobs: ImageData, tiny_settings: Settings) -> None:
    """400 images in six batches of 64, and the last, smaller one is used too."""
    done: list[int] = []
    settings = dataclasses.replace(tiny_settings, batch_size=64)
    state = TrainingState.start(build_model(ModelConfig.of(settings, blobs.image_shape), 0), settings)
    train_epoch(state, torch.from_numpy(blobs.train_images), settings, 1, done.append)
    assert sum(done) == 400
    assert done[-1] == 16
    assert all(images % 64 == 0 for images in done[:-1])
    assert state.optimizer.state[state.weights]["step"] == 7


def test_the_reported_training_loss_is_the_mean_over_the_epochs_images(
    blobs: ImageData, tiny_settings: Settings
) -> None:
    """With a negligible learning rate, the epoch's mean is the loss of the initial weights."""
    settings = dataclasses.replace(tiny_settings, learning_rate=1e-30, batch_size=64)
    state = TrainingState.start(build_model(ModelConfig.of(settings, blobs.image_shape), 0), settings)
    images = torch.from_numpy(blobs.train_images)
    before = evaluate(state.model, images, objective=Objective.of(settings), seed=0)
    during = train_epoch(state, images, settings, 1)
    assert during.reconstruction == pytest.approx(before.reconstruction, rel=0.01)  # other noise
    assert during.kl == pytest.approx(before.kl, rel=1e-5)
    assert during.loss == pytest.approx(during.reconstruction + during.kl, rel=1e-6)


def test_beta_weighs_the_kl_term(tmp_path: Path, blobs: ImageData, tiny_settings: Settings) -> None:
    def last_kl(beta: float) -> float:
        run = Run.create(tmp_path / "runs", None, "beta")
        *_, last = fit(dataclasses.replace(tiny_settings, beta=beta, epochs=5), blobs, run)
        newest = last.history[-1]
        assert newest.test_loss == pytest.approx(newest.test_reconstruction + beta * newest.test_kl)
        return newest.test_kl

    assert last_kl(0.0) > last_kl(1.0) > last_kl(50.0)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_what_was_saved(
    tmp_path: Path, blobs: ImageData, tiny_settings: Settings
) -> None:
    run = Run.create(tmp_path / "runs", "a", "unused")
    settings = dataclasses.replace(tiny_settings, learning_rate=1e30, clip_norm=None)
    with pytest.raises(TrainingError, match=r"in epoch 1 no longer finite: .* try a lower --learning-rate"):
        list(fit(settings, blobs, run))
    assert not run.last.exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_without_a_gpu_gives_one_sentence() -> None:
    with pytest.raises(SettingsError, match="--device cuda: torch finds no CUDA device"):
        choose_device("cuda")
    assert choose_device("auto") == CPU


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_gpu_and_cpu_start_with_the_same_loss(tmp_path: Path, blobs: ImageData, tiny_settings: Settings) -> None:
    losses = []
    for device in ("cpu", "cuda"):
        run = Run.create(tmp_path / "runs", device, "unused")
        *_, last = fit(tiny_settings, blobs, run, execution=Execution(torch.device(device)))
        losses.append(last.history[0].test_loss)
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
