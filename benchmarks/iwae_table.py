"""Test NLL of the importance-weighted autoencoder (Burda et al. 2016): published values compared with measured ones.

One stochastic layer of 50 latents, 200-200 tanh in encoder and decoder, MNIST binarised anew in each epoch, NLL with
5000 samples. The paper trained each cell for 3280 epochs. Here a VAE with k = 1 (the trunk) is trained first at a
constant learning rate. Every cell starts from it and trains with its own objective, while the learning rate falls along
half a cosine to 0.

    VAE_DATA=DIR python benchmarks/iwae_table.py [--trunk-epochs 300] [--epochs 300] [--output iwae_table.json]
"""

from __future__ import annotations

import copy
import json
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
SETTINGS = Settings(
    "iwae-table",
    hidden=(200, 200),
    latent_dim=50,
    batch_size=100,
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
    epochs: int
    """Epochs of the trunk and of the cell."""
    minutes: float
    """Minutes of training, of the trunk and of the cell."""


def train(state: TrainingState, images: Tensor, settings: Settings) -> float:
    """All epochs of `settings`. Returns the minutes it took."""
    started = time.perf_counter()
    for epoch in range(1, settings.epochs + 1):
        train_epoch(state, images, settings, epoch)
    return (time.perf_counter() - started) / 60


def branch_off(trunk: TrainingState, config: ModelConfig, settings: Settings, execution: Execution) -> TrainingState:
    """A new training state for `settings` that starts with the trunk's weights and Adam moments."""
    state = TrainingState.start(build_model(config, derive_seed(settings.seed, "weights")), settings, execution)
    with torch.no_grad():
        state.weights.copy_(trunk.weights)
    state.optimizer.load_state_dict(copy.deepcopy(trunk.optimizer.state_dict()))
    return state


@click.command()
@click.option("--data-dir", type=click.Path(exists=True, path_type=Path), envvar="VAE_DATA", required=True)
@click.option("--trunk-epochs", type=click.IntRange(1), default=300, show_default=True)
@click.option("--epochs", type=click.IntRange(1), default=300, show_default=True, help="Epochs per cell.")
@click.option("--k", type=click.IntRange(1), default=5000, show_default=True, help="Samples for the NLL.")
@click.option("--images", type=click.IntRange(1), default=500, show_default=True, help="Test images with k samples.")
@click.option("--draws", multiple=True, type=click.Choice(["1", "5", "50"]), default=["1", "5", "50"])
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--threads", type=click.IntRange(1))
@click.option("--output", type=click.Path(path_type=Path), help="Also write the cells to this JSON file.")
def main(
    data_dir: Path,
    trunk_epochs: int,
    epochs: int,
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
    train_images = torch.tensor(data.train_images, device=where)
    test_pixels = torch.tensor(data.test_images, device=where)
    test_image = to_float(binarize(test_pixels, "dynamic", generator(0, "evaluation", device=where)))
    config = ModelConfig(data.image_shape, SETTINGS.hidden, SETTINGS.latent_dim, activation=SETTINGS.activation)

    name = torch.cuda.get_device_name() if where.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    print(f"784-200-200-50 tanh, MNIST binarised dynamically, batch {SETTINGS.batch_size}, Adam; nats per test image")
    print(f"on {platform.machine()}, {name}, torch {torch.__version__}; NLL by {k} samples")
    trunk = TrainingState.start(build_model(config, derive_seed(SETTINGS.seed, "weights")), SETTINGS, Execution(where))
    trunk_minutes = train(trunk, train_images, replace(SETTINGS, epochs=trunk_epochs))
    print(f"trunk: {trunk_epochs} epochs of VAE, k = 1, in {trunk_minutes:.1f} minutes\n")
    print(f"objective    k   published         measured   epochs   minutes   (published: {PUBLISHED_EPOCHS} epochs)")
    cells: list[Cell] = []
    for objective, samples in PUBLISHED:
        if str(samples) not in draws:
            continue
        if (objective, samples) == ("iwae", 1) and cells:
            cell = replace(cells[0], objective="iwae")  # with one sample, VAE and IWAE bounds are identical
        else:
            bound = "elbo" if objective == "vae" else "iwae"
            settings = replace(SETTINGS, bound=bound, draws=samples, epochs=epochs, schedule="cosine")
            state = branch_off(trunk, config, settings, Execution(where))
            minutes = train(state, train_images, settings)
            found = importance_nll(state.model, test_image, k=k, images_with_k=images)
            cell = Cell(
                objective,
                samples,
                found.nll,
                found.standard_error,
                PUBLISHED[objective, samples],
                trunk_epochs + epochs,
                trunk_minutes + minutes,
            )
        cells.append(cell)
        measured = f"{cell.nll:.2f} ± {cell.standard_error:.2f}"
        print(
            f"{objective.upper():9} {samples:4}   {cell.published:9.2f}   {measured:>14}   {cell.epochs:6}   "
            f"{cell.minutes:7.1f}",
            flush=True,
        )
        if output is not None:
            output.write_text(json.dumps([asdict(cell) for cell in cells], indent=1) + "\n")


if __name__ == "__main__":
    main()
