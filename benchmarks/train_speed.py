"""Training speed: the usual loop of VAE tutorials beside ours, on the same model, data and machine, in one run.

The usual loop draws from a `DataLoader` with two workers over `torchvision.datasets.MNIST` with `ToTensor`, computes
the loss on sigmoid outputs, and reads every term with `.item()` in each step. Both train 784-256-256-32 with batch
128, Adam at 1e-3 and gradients clipped at norm 1. The two take turns, epoch by epoch; evaluation is not counted.

    VAE_DATA=DIR python benchmarks/train_speed.py [--rounds 5]
"""

import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import click
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from trainer.data import load
from trainer.epoch import TrainingState, train_epoch
from trainer.model import ModelConfig
from trainer.settings import PRESETS

SETTINGS = PRESETS["tutorial"]


class UsualVae(nn.Module):
    """The same network, written the usual way: it gives pixel probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU())
        self.heads = nn.ModuleList([nn.Linear(256, 32), nn.Linear(256, 32)])
        self.generator = nn.Sequential(
            nn.Linear(32, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 784), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = self.body(x)
        mu, logvar = self.heads[0](h), self.heads[1](h)
        return self.generator(mu + torch.randn_like(mu) * torch.exp(logvar / 2)), mu, logvar


def usual_epochs(data_dir: Path) -> Callable[[], float]:
    """A function that trains one epoch the usual way and returns its mean loss."""
    images = datasets.MNIST(str(data_dir), train=True, transform=transforms.ToTensor())
    loader = DataLoader(images, batch_size=SETTINGS.batch_size, shuffle=True, num_workers=2)
    model = UsualVae()
    optimizer = torch.optim.Adam(model.parameters(), lr=SETTINGS.learning_rate)

    def epoch() -> float:
        model.train()
        sums = {"loss": 0.0, "reconstruction": 0.0, "kl": 0.0}
        for batch, _ in loader:
            x = batch.view(batch.size(0), -1)
            optimizer.zero_grad()
            output, mu, logvar = model(x)
            reconstruction = F.binary_cross_entropy(output, x, reduction="sum")
            kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
            loss = reconstruction + kl
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
            optimizer.step()
            sums["loss"] += loss.item()
            sums["reconstruction"] += reconstruction.item()
            sums["kl"] += kl.item()
        return sums["loss"] / len(images)

    return epoch


def our_epochs(data_dir: Path) -> Callable[[], float]:
    """A function that trains one epoch our way and returns its mean loss."""
    images = torch.from_numpy(load("mnist", data_dir).train_images.copy())
    state = TrainingState.start(ModelConfig((1, 28, 28), SETTINGS.hidden, SETTINGS.latent_dim), SETTINGS, images.device)
    epochs = iter(range(1, 1000))

    def epoch() -> float:
        return train_epoch(state, images, SETTINGS, next(epochs)).loss

    return epoch


@click.command()
@click.option("--data-dir", type=click.Path(exists=True, path_type=Path), envvar="VAE_DATA", required=True)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Epochs of each.")
def main(data_dir: Path, rounds: int) -> None:
    """Print seconds an epoch of both loops, and their ratio, as medians over rounds."""
    loops = {"usual loop": usual_epochs(data_dir), "vae-train": our_epochs(data_dir)}
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    losses = {}
    for _ in range(rounds):
        for name, epoch in loops.items():
            started = time.perf_counter()
            losses[name] = epoch()
            seconds[name].append(time.perf_counter() - started)
    print(f"784-256-256-32 on MNIST, batch 128, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}; median of {rounds} epochs each, in turn")
    print(f"{'':12} s/epoch   images/s   train loss of epoch {rounds}")
    for name, values in seconds.items():
        print(f"{name:12} {median(values):7.2f}   {60_000 / median(values):8,.0f}   {losses[name]:10.2f}")
    ratios = [usual / ours for usual, ours in zip(*seconds.values(), strict=True)]
    print(f"vae-train is {median(ratios):.1f} times as fast (pairs: {min(ratios):.1f} to {max(ratios):.1f})")


if __name__ == "__main__":
    main()
