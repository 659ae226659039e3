"""Training speed: the usual loop of VAE tutorials, torch.compile and JAX beside ours, in one run on one machine.

The usual loop draws from a `DataLoader` with two workers over `torchvision.datasets.MNIST` with `ToTensor`, computes
the loss on sigmoid outputs, and reads every term with `.item()` in each step. `eager` has the data on the device and
autograd, `torch.compile` is the same with its loss compiled. JAX runs `peers/jax_epochs.py`, a whole epoch in one
jitted `lax.scan`, in an environment of its own: `make bench-peers` makes one. All train 784-256-256-32 with batch 128,
Adam at 1e-3 and gradients clipped at norm 1. The loops alternate, one epoch at a time; compilation and evaluation are
not timed. On a GPU, our step is timed as a CUDA graph and eagerly. `--kinds` times each kind of step instead, beside
autograd on whole batches.

    VAE_DATA=DIR python benchmarks/train_speed.py [--rounds 5] [--threads 2] [--device cpu|cuda]
        [--compile] [--jax PYTHON] [--kinds]
"""

import os
import platform
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from trainer.data.dataset import ImageData
from trainer.data.load import load
from trainer.device import choose_device
from trainer.memory import keep_freed_memory
from trainer.objective.bound import Objective
from trainer.objective.score import evaluate
from trainer.settings import PRESETS, Settings
from trainer.training.epoch import train_epoch
from trainer.training.execution import Execution
from trainer.training.state import TrainingState, fresh_model
from trainer.training.steps.autograd import AutogradStep
from trainer.training.steps.gemm import Products, has_bf16
from trainer.training.steps.product_speed import fastest_library, seconds_of_products

SETTINGS = PRESETS["tutorial"]
_WEIGHTS_WITH_INPUT_GRADIENT = 2 * 256 * 256 + 256 * 64 + 32 * 256 + 256 * 784
EPOCH_FLOP = 60_000 * (6 * _WEIGHTS_WITH_INPUT_GRADIENT + 4 * 784 * 256)
"""Additions and multiplications: two for each weight and image forward, w.r.t. the weight, and w.r.t. the input."""
KINDS: dict[str, dict[str, Any]] = {
    "tutorial": {},
    "tanh": {"activation": "tanh"},
    "gaussian": {"likelihood": "gaussian"},
    "continuous Bernoulli": {"likelihood": "continuous-bernoulli"},
    "calibrated Gaussian": {"likelihood": "calibrated-gaussian"},
    "IWAE, k = 5": {"bound": "iwae", "draws": 5},
    "DReG, k = 5": {"bound": "dreg", "draws": 5},
    "free bits": {"free_bits": 0.1},
    "batch norm": {"batch_norm": True},
    "conv": vars(PRESETS["conv"]),
    "conv, bf16": {**vars(PRESETS["conv"]), "precision": "bf16"},
}
"""What differs from the preset tutorial in each kind of step."""
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


def our_epochs(data: ImageData, settings: Settings, device: torch.device, *, kind: str = "fast") -> Epoch:
    """Epochs of our loop. kind: fast, as in vae-train; eager, by autograd without a CUDA graph; or compiled, by
    torch.compile."""
    images = torch.tensor(data.train_images, device=device)
    state = TrainingState.start(fresh_model(settings, data), settings, Execution(device, graph=kind == "fast"))
    if kind != "fast":
        step = AutogradStep(state.model, state.weights, state.optimizer, settings)
        if kind == "compiled":
            step.terms = torch.compile(step.terms)  # type: ignore[assignment]
        state = replace(state, step=step)
    numbers = iter(range(1, 1_000_000))

    return lambda: train_epoch(state, images, settings, next(numbers)).loss


def jax_epochs(python: Path, data: ImageData) -> Epoch:
    """Epochs of `peers/jax_epochs.py` in a process of its own."""
    with tempfile.NamedTemporaryFile(suffix=".npy") as file:
        np.save(file, data.train_images.reshape(len(data.train_images), -1))
        file.flush()
        script = Path(__file__).parent / "peers" / "jax_epochs.py"
        process = subprocess.Popen(
            [python, script, file.name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdin is not None
        assert process.stdout is not None
        pipe_in, pipe_out = process.stdin, process.stdout
        print(pipe_out.readline().strip())  # its versions, when it has read the images and compiled

    def epoch() -> float:
        pipe_in.write("\n")
        pipe_in.flush()
        return float(pipe_out.readline())

    return epoch


def processor() -> str:
    """Name, number of processors and instruction sets, as far as the system tells."""
    name, sets = platform.processor() or platform.machine(), ""
    info = Path("/proc/cpuinfo")
    if info.exists():
        fields = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
        fields = {key.strip(): value.strip() for key, value in fields.items()}
        name = f"{fields.get('model name', name)}, family {fields.get('cpu family')} model {fields.get('model')}"
        flags = fields.get("flags", "").split()
        sets = " ".join(each for each in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if each in flags)
    return f"{name}, {os.cpu_count()} processors, {sets or torch.backends.cpu.get_cpu_capability()}"


def product_rate(dtype: torch.dtype) -> float:
    """GFLOP/s of the best of ten products of 2048² matrices, by the library that trains, on all of torch's threads."""
    a, b = torch.randn(2, 2048, 2048).to(dtype)
    products, seconds = Products(fastest_library(dtype)), []
    for _ in range(10):
        started = time.perf_counter()
        products.linear(a, b)
        seconds.append(time.perf_counter() - started)
    return float(2 * 2048**3 / min(seconds) / 1e9)


def print_kinds(data: ImageData, device: torch.device, rounds: int) -> None:
    """Print images per second of each kind of step: ours, and by autograd on whole batches."""
    print(f"images/s, median of {rounds} rounds in turn; ratios are taken within a round")
    print(f"{'':20} {'vae-train':>10} {'autograd':>10}   ratio")
    for name, changes in KINDS.items():
        settings = replace(SETTINGS, **changes)
        # Of an MLP whole epochs, until Adam's means of weights at black pixels have become denormal numbers.
        images = 1_280 if settings.network == "conv" else len(data.train_images)
        some = replace(data, train_images=data.train_images[:images], train_labels=None)
        epochs = [our_epochs(some, settings, device, kind=kind) for kind in ("fast", "eager")]
        seconds: list[list[float]] = []
        for _ in range(rounds + 1):
            seconds.append([])
            for epoch in epochs:
                started = time.perf_counter()
                epoch()
                seconds[-1].append(time.perf_counter() - started)
        ours, eager = (images / median(column) for column in zip(*seconds[1:], strict=True))  # the first one warms up
        ratio = median(theirs / own for own, theirs in seconds[1:])
        print(f"{name:20} {ours:10,.0f} {eager:10,.0f}   {ratio:5.2f}")


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
@click.option("--kinds", is_flag=True, help="Time each kind of step instead.")
@click.option("--compile", "compile_", is_flag=True, help="Also the eager loop under torch.compile.")
@click.option("--jax", type=click.Path(exists=True, path_type=Path), help="A Python that has jax and optax: also JAX.")
def main(
    data_dir: Path,
    rounds: int,
    threads: int | None,
    device: str,
    seeds: int,
    kinds: bool,
    compile_: bool,
    jax: Path | None,
) -> None:
    """Print seconds per epoch of each loop and the ratios between them, as medians over rounds."""
    keep_freed_memory()  # as the commands do
    torch_device = choose_device(device)
    if threads is not None:
        torch.set_num_threads(threads)
    data = load("mnist", data_dir)
    if torch_device.type == "cpu":
        print(f"{processor()}; {torch.get_num_threads()} threads")
        rates = {dtype: product_rate(dtype) for dtype in (torch.float32, torch.bfloat16)}
        limits = ", ".join(f"{str(dtype).removeprefix('torch.')} {rate:.0f}" for dtype, rate in rates.items())
        print(f"products of 2048 x 2048, GFLOP/s: {limits}; an epoch has {EPOCH_FLOP / 1e9:.0f} GFLOP in products, "
              f"{EPOCH_FLOP / rates[torch.float32] / 1e9:.2f} s")  # fmt: skip
        for dtype in rates:
            layer = ", ".join(f"{name} {seconds * 1e6:.0f}" for name, seconds in seconds_of_products(dtype).items())
            print(f"a layer's products in {str(dtype).removeprefix('torch.')} on one core, µs: {layer}; "
                  f"by {fastest_library(dtype)}")  # fmt: skip
    if kinds:
        print_kinds(data, torch_device, rounds)
        return
    loops = {
        "usual loop": usual_epochs(data_dir, torch_device),
        "eager": our_epochs(data, SETTINGS, torch_device, kind="eager"),
    }
    if compile_:
        loops["torch.compile"] = our_epochs(data, SETTINGS, torch_device, kind="compiled")
        loops["torch.compile"]()  # compiles
    if jax is not None:
        loops["jax"] = jax_epochs(jax, data)
    loops["vae-train"] = our_epochs(data, SETTINGS, torch_device)
    if has_bf16(torch_device):
        loops["vae-train bf16"] = our_epochs(data, replace(SETTINGS, precision="bf16"), torch_device)
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    losses = {}
    for _ in range(rounds):
        for name, epoch in loops.items():
            started = time.perf_counter()
            losses[name] = epoch()
            seconds[name].append(time.perf_counter() - started)
    where = f"; {torch.cuda.get_device_name()}" if torch_device.type == "cuda" else ""
    print(f"784-256-256-32 on MNIST, batch 128, torch {torch.__version__}{where}")
    print(f"median of {rounds} epochs each and their range, alternating; ratios are taken within a round")
    print(f"{'':14} s/epoch                images/s   times the usual loop   train loss of epoch {rounds}")
    for name, values in seconds.items():
        ratios = [usual / ours for usual, ours in zip(seconds["usual loop"], values, strict=True)]
        spread = f"{median(ratios):5.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
        times = f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
        print(f"{name:14} {times:20}   {60_000 / median(values):8,.0f}   {spread:20}   {losses[name]:10.2f}")
    print(f"peak memory of this process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GB")
    if seeds:
        print_spread(data, torch_device, seeds)


if __name__ == "__main__":
    main()
