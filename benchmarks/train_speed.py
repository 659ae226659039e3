"""Training speed: the usual loop of VAE tutorials compared with ours, on the same model, data and machine.

The usual loop draws from a `DataLoader` with two workers over `torchvision.datasets.MNIST` with `ToTensor`, computes
the loss on sigmoid outputs, and reads every term with `.item()` in each step. All train 784-256-256-32 with batch
128, Adam at 1e-3 and gradients clipped at norm 1. The loops alternate, one epoch at a time; evaluation is not timed. On
a GPU, our step is timed as a CUDA graph and eagerly.

    VAE_DATA=DIR python benchmarks/train_speed.py [--rounds 5] [--threads 2] [--device cpu|cuda]
"""

import platform
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import click
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from trainer.data.dataset import ImageData
from trainer.data.load import load
from trainer.device import choose_device
from trainer.objective.bound import Objective
from trainer.objective.score import evaluate
from trainer.settings import PRESETS, Settings
from trainer.training.epoch import train_epoch
from trainer.training.execution import Execution
from trainer.training.state import TrainingState, fresh_model
from trainer.training.steps.autograd import AutogradStep
from trainer.training.steps.gemm import has_bf16

SETTINGS = PRESETS["tutorial"]
Epoch = Callable[[], float]
"""Trains one epoch and returns its mean loss."""


class UsualVae(nn.Module):
    """The same network as tutorials write it: the output is pixel probabilities."""

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


def usual_epochs(data_dir: Path, device: torch.device) -> Epoch:
    """Epochs of the usual loop."""
    images = datasets.MNIST(str(data_dir), train=True, transform=transforms.ToTensor())
    loader = DataLoader(images, batch_size=SETTINGS.batch_size, shuffle=True, num_workers=2)
    model = UsualVae().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=SETTINGS.learning_rate)

    def epoch() -> float:
        model.train()
        sums = {"loss": 0.0, "reconstruction": 0.0, "kl": 0.0}
        for batch, _ in loader:
            x = batch.view(batch.size(0), -1).to(device)
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


def our_epochs(data: ImageData, settings: Settings, device: torch.device, *, fast: bool) -> Epoch:
    """Epochs of our loop. fast: True as in vae-train; False uses autograd and no CUDA graph."""
    images = torch.tensor(data.train_images, device=device)
    state = TrainingState.start(fresh_model(settings, data), settings, Execution(device, graph=fast))
    if not fast:
        step = AutogradStep(state.model, state.weights, state.optimizer, settings)
        state = replace(state, step=step)
    numbers = iter(range(1, 1_000_000))

    return lambda: train_epoch(state, images, settings, next(numbers)).loss


def print_spread(data: ImageData, device: torch.device, seeds: int) -> None:
    """Print the test loss after all epochs of the tutorial preset for several seeds."""
    test = torch.tensor(data.test_images, device=device)
    losses = []
    for seed in range(seeds):
        settings = replace(SETTINGS, seed=seed)
        state = TrainingState.start(fresh_model(settings, data), settings, Execution(device))
        images = torch.tensor(data.train_images, device=device)
        for epoch in range(1, settings.epochs + 1):
            train_epoch(state, images, settings, epoch)
        losses.append(evaluate(state.model, test, objective=Objective.of(settings), seed=seed).loss)
    text = ", ".join(f"{loss:.2f}" for loss in losses)
    print(f"test loss after {SETTINGS.epochs} epochs, seeds 0 to {seeds - 1}: {text}")
    values = torch.tensor(losses, dtype=torch.float64)
    print(f"mean {values.mean().item():.2f}, standard deviation {values.std().item():.2f} nats")


@click.command()
@click.option("--data-dir", type=click.Path(exists=True, path_type=Path), envvar="VAE_DATA", required=True)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Epochs timed per loop.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads.  [default: torch's choice]")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option(
    "--seeds", type=click.IntRange(0), default=0, show_default=True, help="Number of seeds to train fully as well."
)
def main(data_dir: Path, rounds: int, threads: int | None, device: str, seeds: int) -> None:
    """Print seconds per epoch of each loop and the ratios between them, as medians over rounds."""
    torch_device = choose_device(device)
    if threads is not None:
        torch.set_num_threads(threads)
    data = load("mnist", data_dir)
    loops = {
        "usual loop": usual_epochs(data_dir, torch_device),
        "eager": our_epochs(data, SETTINGS, torch_device, fast=False),
        "vae-train": our_epochs(data, SETTINGS, torch_device, fast=True),
    }
    if has_bf16(torch_device):
        loops["vae-train bf16"] = our_epochs(data, replace(SETTINGS, precision="bf16"), torch_device, fast=True)
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    losses = {}
    for _ in range(rounds):
        for name, epoch in loops.items():
            started = time.perf_counter()
            losses[name] = epoch()
            seconds[name].append(time.perf_counter() - started)
    where = (
        torch.cuda.get_device_name()
        if torch_device.type == "cuda"
        else f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
    )
    print(f"784-256-256-32 on MNIST, batch 128, torch {torch.__version__}; {where}")
    print(f"median of {rounds} epochs each, alternating; ratios are taken within a round")
    print(f"{'':14} s/epoch   images/s   times the usual loop   train loss of epoch {rounds}")
    for name, values in seconds.items():
        ratios = [usual / ours for usual, ours in zip(seconds["usual loop"], values, strict=True)]
        spread = f"{median(ratios):5.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
        print(f"{name:14} {median(values):7.2f}   {60_000 / median(values):8,.0f}   {spread:20}   {losses[name]:10.2f}")
    print(f"peak memory of this process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GB")
    if seeds:
        print_spread(data, torch_device, seeds)


if __name__ == "__main__":
    main()
