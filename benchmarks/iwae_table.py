"""Test NLL of the importance-weighted autoencoder (Burda et al. 2016): published values compared with measured ones.

One stochastic layer of 50 latents, 200-200 tanh in encoder and decoder, MNIST binarised anew in each epoch, NLL with
5000 samples. The paper trained each cell for 3280 epochs; here a cell gets minutes. A VAE with k = 1 (the trunk) is
trained first at a constant learning rate. Every cell starts from it and trains with its own objective, while the
learning rate falls along half a cosine.

    VAE_DATA=DIR python benchmarks/iwae_table.py [--trunk-minutes 8] [--minutes 4] [--output iwae_table.json]
"""

from __future__ import annotations

import copy
import json
import math
import platform
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click
import torch
from torch import Tensor

from trainer.data.binarize import binarize
from trainer.data.load import load
from trainer.data.pixels import to_float
from trainer.device import choose_device
from trainer.evaluation.nll import importance_nll
from trainer.model.vae import ModelConfig, build_model
from trainer.seeds import derive_seed, generator
from trainer.settings import Settings
from trainer.training.epoch import train_epoch
from trainer.training.execution import Execution
from trainer.training.state import TrainingState

PUBLISHED = {("vae", 1): 86.76, ("iwae", 1): 86.76, ("vae", 5): 86.47, ("iwae", 5): 85.54, ("vae", 50): 86.35,
             ("iwae", 50): 84.78}  # fmt: skip
"""(objective, k) → test NLL in nats, from the paper's table for one stochastic layer."""
PUBLISHED_EPOCHS = 3280
SLICES = 10  # the learning rate falls every tenth of an epoch
SETTINGS = Settings(
    "iwae-table",
    hidden=(200, 200),
    latent_dim=50,
    batch_size=100,
    epochs=1,
    clip_norm=None,
    learning_rate=2e-3,
    activation="tanh",
    binarize="dynamic",
    adam_epsilon=1e-4,
)


@dataclass(frozen=True)
class Cell:
    """One measured entry of the table."""

    objective: str
    k: int
    nll: float
    standard_error: float
    published: float
    epochs: float
    """Epochs of the trunk and of the cell."""
    minutes: float
    """Minutes of training, of the trunk and of the cell."""


def train_for(state: TrainingState, images: Tensor, settings: Settings, minutes: float, *, cool_down: bool) -> float:
    """Train for `minutes`. cool_down: let the learning rate fall to 0. Returns the number of epochs."""
    started, done = time.perf_counter(), 0
    while (share := (time.perf_counter() - started) / 60 / minutes) < 1:
        rate = settings.learning_rate * (0.5 * (1 + math.cos(math.pi * share)) if cool_down else 1)
        part = images[done % SLICES :: SLICES]
        done += 1
        train_epoch(state, part, replace(settings, learning_rate=rate), epoch=done)
    return done / SLICES


def branch_off(trunk: TrainingState, config: ModelConfig, settings: Settings, execution: Execution) -> TrainingState:
    """A new training state for `settings` that starts with the trunk's weights and Adam moments."""
    state = TrainingState.start(build_model(config, derive_seed(settings.seed, "weights")), settings, execution)
    with torch.no_grad():
        state.weights.copy_(trunk.weights)
    state.optimizer.load_state_dict(copy.deepcopy(trunk.optimizer.state_dict()))
    return state


@click.command()
@click.option("--data-dir", type=click.Path(exists=True, path_type=Path), envvar="VAE_DATA", required=True)
@click.option("--trunk-minutes", type=click.FloatRange(min=0, min_open=True), default=8, show_default=True)
@click.option(
    "--minutes", type=click.FloatRange(min=0, min_open=True), default=4, show_default=True, help="Minutes per cell."
)
@click.option("--k", type=click.IntRange(1), default=5000, show_default=True, help="Samples for the NLL.")
@click.option("--images", type=click.IntRange(1), default=500, show_default=True, help="Test images with k samples.")
@click.option("--draws", multiple=True, type=click.Choice(["1", "5", "50"]), default=["1", "5", "50"])
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--threads", type=click.IntRange(1))
@click.option("--output", type=click.Path(path_type=Path), help="Also write the cells to this JSON file.")
def main(
    data_dir: Path,
    trunk_minutes: float,
    minutes: float,
    k: int,
    images: int,
    draws: tuple[str, ...],
    device: str,
    threads: int | None,
    output: Path | None,
) -> None:
    """Train the cells and print the table."""
    if threads is not None:
        torch.set_num_threads(threads)
    where = choose_device(device)
    data = load("mnist", data_dir)
    order = torch.randperm(len(data.train_images), generator=generator(0, "order"))
    train_images = torch.tensor(data.train_images)[order].to(where)
    test_pixels = torch.tensor(data.test_images, device=where)
    test_image = to_float(binarize(test_pixels, "dynamic", generator(0, "evaluation", device=where)))
    config = ModelConfig(data.image_shape, SETTINGS.hidden, SETTINGS.latent_dim, activation=SETTINGS.activation)

    name = torch.cuda.get_device_name() if where.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    print(f"784-200-200-50 tanh, MNIST binarised dynamically, batch {SETTINGS.batch_size}, Adam; nats per test image")
    print(f"on {platform.machine()}, {name}, torch {torch.__version__}; NLL by {k} samples")
    trunk = TrainingState.start(build_model(config, derive_seed(SETTINGS.seed, "weights")), SETTINGS, Execution(where))
    trunk_epochs = train_for(trunk, train_images, SETTINGS, trunk_minutes, cool_down=False)
    print(f"trunk: {trunk_epochs:.1f} epochs of VAE, k = 1, in {trunk_minutes:g} minutes\n")
    print(f"objective    k   published         measured   epochs   minutes   (published: {PUBLISHED_EPOCHS} epochs)")
    cells: list[Cell] = []
    for objective, samples in PUBLISHED:
        if str(samples) not in draws:
            continue
        if (objective, samples) == ("iwae", 1) and cells:
            cell = replace(cells[0], objective="iwae")  # with one sample, VAE and IWAE bounds are identical
        else:
            settings = replace(SETTINGS, bound="elbo" if objective == "vae" else "iwae", draws=samples)
            state = branch_off(trunk, config, settings, Execution(where))
            epochs = trunk_epochs + train_for(state, train_images, settings, minutes, cool_down=True)
            found = importance_nll(state.model, test_image, k=k, images_with_k=images)
            cell = Cell(
                objective,
                samples,
                found.nll,
                found.standard_error,
                PUBLISHED[objective, samples],
                epochs,
                trunk_minutes + minutes,
            )
        cells.append(cell)
        measured = f"{cell.nll:.2f} ± {cell.standard_error:.2f}"
        print(
            f"{objective.upper():9} {samples:4}   {cell.published:9.2f}   {measured:>14}   {cell.epochs:6.1f}   "
            f"{cell.minutes:7.1f}",
            flush=True,
        )
        if output is not None:
            output.write_text(json.dumps([asdict(cell) for cell in cells], indent=1) + "\n")


if __name__ == "__main__":
    main()
