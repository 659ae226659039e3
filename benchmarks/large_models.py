"""Large convolutional models: what the parity gate costs, and how fast Sampler draws beside bare onnxruntime.

    python benchmarks/large_models.py [gate] [speed] [memory] [--bundles FOLDER] [--rounds 5]

`gate` exports a VAE of 18 million parameters, and prints the seconds of each step, the peak resident memory, and what
the check cut to stay within bounds. `speed` times decoders of 1, 17 and 51 million parameters, of 64×64 colour images:
one image, the mean of 8 drawn one by one, and 16 at once, from seeds to pixels by Sampler and from latents to floats by
onnxruntime with its default settings, at its fastest batch, with the same number of threads; they take turns, figures
are medians. `memory` is the peak of fresh processes that stream 256×256 colour images into a file. FOLDER keeps the
bundles of both, so that a second run need not export again. The models have residual blocks with GroupNorm and SiLU, as
in latent diffusion, and random weights.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import click
import numpy as np
import onnxruntime
import torch
from in_turn import seconds_in_turn  # type: ignore[import-not-found]
from torch import Tensor, nn

from export import Source, export_bundle
from runtime import Bundle, Sampler
from runtime.machine.cpus import usable_cpus
from runtime.machine.description import cpu
from runtime.manifest import PARITY_NAME

LATENT_CHANNELS = 4
HALVINGS = 3
SIDE = 64
GATE_WIDTH = 64
DECODER_WIDTHS = (24, 88, 152)
IMAGES = 16
SINGLES = 8  # images drawn one by one
BATCHES = (1, 4, 16)
# onnxruntime's threads spin for tens of milliseconds after a call, which would slow down the next candidate.
SETTLE_S = 0.2
MEMORY_WIDTH, MEMORY_SIDE, MEMORY_NUMS = 16, 256, (8, 128, 512)

_SAMPLE = """
import pathlib, sys
from runtime.cli import sample
sample(sys.argv[1:], standalone_mode=False)
print([line.split()[1] for line in pathlib.Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line][0])
"""


class Residual(nn.Module):
    """Two normalised convolutions beside the identity, (N, C, H, W) → the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_layer(width), *_layer(width))

    def forward(self, x: Tensor) -> Tensor:
        changed: Tensor = self.layers(x)
        return x + changed


class Encoder(nn.Module):
    """Images (N, 3, 64, 64) in [-1, 1] → mean and log-variance, (N, 4, 8, 8) each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1)]
        for i in range(HALVINGS):
            layers += [Residual(width << i), nn.Conv2d(width << i, width << i + 1, 4, 2, 1)]
        layers += [Residual(width << HALVINGS), nn.Conv2d(width << HALVINGS, 2 * LATENT_CHANNELS, 3, padding=1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_var = self.layers(image).chunk(2, 1)
        return mean, log_var


class Decoder(nn.Sequential):
    """Latents (N, 4, 8, 8) → images (N, 3, 64, 64) in [-1, 1]."""

    def __init__(self, width: int) -> None:
        layers: list[nn.Module] = [nn.Conv2d(LATENT_CHANNELS, width << HALVINGS, 3, padding=1)]
        for i in range(HALVINGS, 0, -1):
            layers += [Residual(width << i), nn.ConvTranspose2d(width << i, width << i - 1, 4, 2, 1)]
        layers += [Residual(width), nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, 3, 3, padding=1), nn.Tanh()]
        super().__init__(*layers)


def _layer(width: int) -> list[nn.Module]:
    return [nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1)]


def source(width: int, *, encoder: bool = True, side: int = SIDE) -> Source:
    """A model of seed 0 with random images. width: channels at full resolution, a multiple of 8."""
    torch.manual_seed(0)
    return Source.of_modules(
        decoder=Decoder(width).eval(),
        encoder=Encoder(width).eval() if encoder else None,
        latent_shape=(LATENT_CHANNELS, side >> HALVINGS, side >> HALVINGS),
        image_shape=(3, side, side),
        value_range=(-1, 1),
        images=np.random.default_rng(0).integers(0, 256, (16, side, side, 3), np.uint8),
    )


def parameters(source: Source) -> int:
    """Numbers that were trained, of both halves."""
    return sum(parameter.numel() for parameter in source.model.parameters())


def gate() -> None:
    """Export once, and print what it cost."""
    started = time.perf_counter()
    model = source(GATE_WIDTH)
    print(f"gate of a VAE with {parameters(model):,} parameters, {SIDE}×{SIDE}×3")

    def report(step: str) -> None:
        print(f"{time.perf_counter() - started:6.1f} s, peak {_peak_gb():.2f} GB: {step}", flush=True)

    report("modules checked")
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        export_bundle(model, bundle, report=report)
        rule = json.loads((bundle / PARITY_NAME).read_text())["rule"]
    report("published")
    print(f"batches {rule['batches']}, of the ONNX reference evaluator {rule['batches_of_onnx_reference']}\n")


def speed(folder: Path, rounds: int) -> None:
    """Print a row for each decoder."""
    threads = usable_cpus()
    print("parameters   one image, ms   onnxruntime   ratio    16 images, images/s   onnxruntime   ratio")
    for width in DECODER_WIDTHS:
        bundle = folder / f"decoder-{width}"
        if not bundle.exists():
            export_bundle(source(width, encoder=False), bundle, formats=["onnx"])
        count = sum(parameter.numel() for parameter in Decoder(width).parameters())
        sampler = Sampler(bundle)
        bare = _bare(Bundle.open(bundle), threads)
        candidates: dict[str, Callable[[], object]] = {
            "our one": lambda sampler=sampler: [sampler.sample(1) for _ in range(SINGLES)],  # type: ignore[misc]
            "their one": lambda bare=bare: bare(1, SINGLES),  # type: ignore[misc]
            "ours": lambda sampler=sampler: sampler.sample(IMAGES),  # type: ignore[misc]
            **{f"theirs {batch}": lambda bare=bare, batch=batch: bare(batch, IMAGES) for batch in BATCHES},  # type: ignore[misc]
        }
        seconds = seconds_in_turn(candidates, rounds, warm_up=1, settle_s=SETTLE_S)
        figures = {name: median(values) for name, values in seconds.items()}
        theirs = min(value for name, value in figures.items() if name.startswith("theirs"))
        one, their_one = figures["our one"] / SINGLES, figures["their one"] / SINGLES
        print(
            f"{count:10,} {1000 * one:15.1f} {1000 * their_one:13.1f} {their_one / one:7.2f}"
            f" {IMAGES / figures['ours']:22.1f} {IMAGES / theirs:13.1f} {theirs / figures['ours']:7.2f}",
            flush=True,
        )


def _bare(bundle: Bundle, threads: int) -> Callable[..., None]:
    """onnxruntime with its default settings but for the number of threads: so many images in batches of a size."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(bundle.read("decoder.onnx"), options, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)

    def run(batch: int, images: int) -> None:
        z = random.standard_normal((batch, bundle.manifest.metadata.latent_dim), np.float32)
        for _ in range(0, images, batch):
            session.run(None, {"z": z})

    return run


def memory(folder: Path) -> None:
    """Print the peak memory of two lengths of stream."""
    bundle = folder / "memory"
    if not bundle.exists():
        export_bundle(source(MEMORY_WIDTH, encoder=False, side=MEMORY_SIDE), bundle, formats=["onnx"])
    print(f"\nimages of {MEMORY_SIDE}×{MEMORY_SIDE}×3 into a .npy   peak MB")
    with tempfile.TemporaryDirectory() as scratch:
        for num in MEMORY_NUMS:
            arguments = [str(bundle), "--num", str(num), "--output", f"{scratch}/images.npy"]
            program = [sys.executable, "-c", _SAMPLE, *arguments]
            done = subprocess.run(program, check=True, capture_output=True, text=True)
            print(f"{num:32} {int(done.stdout.split()[-1]) * 1024 / 1e6:9.0f}")


def _peak_gb() -> float:
    """Of this process since its start; getrusage would include its parent's at the time of the fork."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e9


@click.command()
@click.argument("parts", type=click.Choice(["gate", "speed", "memory"]), nargs=-1)
@click.option("--bundles", type=click.Path(path_type=Path), help="Folder that keeps the bundles of speed and memory.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
def main(parts: tuple[str, ...], bundles: Path | None, rounds: int) -> None:
    """Print all parts, or those named."""
    print(f"{cpu()['model']}, {usable_cpus()} threads; ", end="")
    print(f"Python {platform.python_version()}, torch {torch.__version__}, onnxruntime {onnxruntime.__version__}\n")
    parts = parts or ("gate", "speed", "memory")
    if "gate" in parts:
        gate()
    with tempfile.TemporaryDirectory() as scratch:
        if "speed" in parts:
            speed(bundles or Path(scratch), rounds)
        if "memory" in parts:
            memory(bundles or Path(scratch))


if __name__ == "__main__":
    main()
