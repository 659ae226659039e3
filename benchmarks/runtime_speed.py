"""Speed of the runtime, PyTorch and plain onnxruntime: throughput, one image, cold start, a million images.

    python benchmarks/runtime_speed.py [RUN] [--rounds 7]

RUN is a run folder of vae-train that holds a bundle. Candidates alternate within a round and use the same number of
threads. Figures are medians over the rounds. PyTorch and plain onnxruntime are timed at several batch sizes, and the
fastest is reported.
"""

from __future__ import annotations

import hashlib
import platform
import signal
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

from export.formats.to_torchscript import load_torchscript
from runtime.bundle import Bundle
from runtime.machine.cpus import usable_cpus
from runtime.machine.description import cpu
from runtime.sampler import Sampler
from trainer.checkpoint import load_checkpoint

BATCHES = (64, 256, 512, 1024, 4096)
IMAGES = 32_768  # per candidate and round
MILLION = 1_000_000
KILLS = 5
_CALLS = 200
# onnxruntime's threads spin for tens of milliseconds after a call, which would slow down the next candidate.
SETTLE_S = 0.2

_SAMPLE = """
import sys
from runtime.cli import sample
sample(sys.argv[1:], standalone_mode=False)
"""
_TORCHSCRIPT = """
import sys, warnings
warnings.simplefilter("ignore")
import torch
from PIL import Image
decoder = torch.jit.load(sys.argv[1] + "/decoder.pt")
latent_dim = int(sys.argv[2])
with torch.no_grad():
    image = decoder(torch.randn(1, latent_dim))
Image.fromarray((image[0, 0] * 255).round().clamp(0, 255).to(torch.uint8).numpy()).save(sys.argv[3])
"""
# Peak memory of this program; getrusage would include the parent's memory at the time of the fork.
_PEAK = """
import pathlib
print([line.split()[1] for line in pathlib.Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line][0])
"""


@click.command()
@click.argument("run", type=click.Path(exists=True, path_type=Path), default=Path("runs/latest"))
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True)
def main(run: Path, rounds: int) -> None:
    """Print the tables."""
    bundle = Bundle.open(run / "bundle")
    threads = usable_cpus()
    torch.set_num_threads(threads)
    print(f"{cpu()['model']}, {threads} threads, median of {rounds} rounds", end="; ")
    print(f"Python {platform.python_version()}, torch {torch.__version__}, onnxruntime {onnxruntime.__version__}\n")
    throughput(run, bundle, threads, rounds)
    one_image(run, bundle, rounds)
    cold_start(run / "bundle", bundle.manifest.metadata.latent_dim, rounds)
    a_million(run / "bundle")


def throughput(run: Path, bundle: Bundle, threads: int, rounds: int) -> None:
    """Print images per second of each candidate, and the ratio of vae-toolchain to the others."""
    sampler = Sampler(bundle)
    candidates: dict[str, Callable[[], object]] = {"vae-toolchain, float32": lambda: sampler.sample(IMAGES)}
    if "onnx-int8" in bundle.manifest.graphs["decoder"].files:
        int8 = Sampler(bundle, precision="int8")
        candidates["vae-toolchain, int8"] = lambda: int8.sample(IMAGES)
    for batch in BATCHES:
        candidates[f"onnxruntime, decoder alone, batch {batch}"] = _bare(bundle, threads, batch)
        candidates[f"PyTorch eager, batch {batch}"] = _eager(run, batch)
        candidates[f"TorchScript, batch {batch}"] = _torchscript(bundle, batch)
    seconds = seconds_in_turn(candidates, rounds, warm_up=1, settle_s=SETTLE_S)
    figures = {name: median(IMAGES / second for second in values) for name, values in seconds.items()}
    ours = figures["vae-toolchain, float32"]
    print(f"seeds to uint8 images                 images/s   of ours\n{'vae-toolchain, float32':34} {ours:11,.0f}")
    if "vae-toolchain, int8" in figures:
        value = figures["vae-toolchain, int8"]
        print(f"{'vae-toolchain, int8':34} {value:11,.0f}   int8 / float32 {value / ours:.2f}")
    for kind in ("PyTorch eager", "TorchScript", "onnxruntime, decoder alone"):
        name, value = max(((n, v) for n, v in figures.items() if n.startswith(kind)), key=lambda item: item[1])
        print(f"{name:38} {value:7,.0f}   ours / it {ours / value:.2f}")


def _bare(bundle: Bundle, threads: int, batch: int) -> Callable[[], None]:
    """onnxruntime with its default settings: from latents to float images, without noise and rounding."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(bundle.read("decoder.onnx"), options, providers=["CPUExecutionProvider"])
    z = np.random.default_rng(0).standard_normal((batch, bundle.manifest.metadata.latent_dim), np.float32)

    def call() -> None:
        for _ in range(0, IMAGES, batch):
            session.run(None, {"z": z})

    return call


def _eager(run: Path, batch: int) -> Callable[[], None]:
    model = load_checkpoint(run / "best.pt").build_model()

    def call() -> None:
        for _ in range(0, IMAGES, batch):
            model.sample(batch).mul_(255).round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()

    return call


def _torchscript(bundle: Bundle, batch: int) -> Callable[[], None]:
    decoder = load_torchscript(bundle.read("decoder.pt"))
    latent_dim = bundle.manifest.metadata.latent_dim

    @torch.no_grad()
    def call() -> None:
        for _ in range(0, IMAGES, batch):
            image = decoder(torch.randn(batch, latent_dim))
            image.mul_(255).round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()

    call()
    return call


def one_image(run: Path, bundle: Bundle, rounds: int) -> None:
    """Latency of one image in a warm process, in microseconds."""
    sampler, model = Sampler(bundle), load_checkpoint(run / "best.pt").build_model()

    def ours(i: int) -> object:
        return sampler.sample(1, first=i)

    def eager(i: int) -> object:
        return model.sample(1).mul_(255).round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()

    found: dict[str, list[float]] = {"vae-toolchain": [], "PyTorch eager": []}
    for _ in range(rounds):
        for seconds, call in zip(found.values(), (ours, eager), strict=True):
            for i in range(_CALLS):  # in blocks, for each evicts the other's weights from the cache
                started = time.perf_counter()
                call(i)
                seconds.append(time.perf_counter() - started)
    print("\none image, warm, µs      " + "   ".join(f"{name} {median(s) * 1e6:.0f}" for name, s in found.items()))


def cold_start(folder: Path, latent_dim: int, rounds: int) -> None:
    """Wall time and peak memory of a process that writes one image to a file."""
    with tempfile.TemporaryDirectory() as scratch:
        target = str(Path(scratch) / "one.png")
        programs = {
            "vae-sample --num 1": [_SAMPLE, str(folder), "--num", "1", "--output", target],
            "torch.jit.load": [_TORCHSCRIPT, str(folder), str(latent_dim), target],
        }
        print("\nprocess start to one image on disk        seconds    peak MB")
        for name, (program, *arguments) in programs.items():
            runs = [_timed(program, arguments) for _ in range(rounds + 1)][1:]
            seconds, peaks = (median(column) for column in zip(*runs, strict=True))
            print(f"{name:38} {seconds:10.2f} {peaks:10.0f}")


def a_million(folder: Path) -> None:
    """Time and peak memory of 10,000 and 1,000,000 images, and the hash of a million after five kills and resumes."""
    print("\nimages into a .npy                        seconds    peak MB")
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        whole, pieces = Path(scratch) / "whole.npy", Path(scratch) / "pieces.npy"
        for num in (10_000, MILLION):
            arguments = [str(folder), "--num", str(num), "--output", str(whole)]
            seconds, peak = _timed(_SAMPLE, arguments)
            print(f"{num:<38,} {seconds:10.2f} {peak:10.0f}")
        arguments = [str(folder), "--num", str(MILLION), "--output", str(pieces), "--resume"]
        image_bytes = whole.stat().st_size // MILLION
        for kill in range(1, KILLS + 1):
            process = subprocess.Popen([sys.executable, "-c", _SAMPLE, *arguments], stdout=subprocess.DEVNULL)
            part = Path(f"{pieces}.part")
            # Kill when another sixth of the file is written, so that every kill interrupts work.
            while not (part.exists() and part.stat().st_size > kill * MILLION // (KILLS + 1) * image_bytes):
                if process.poll() is not None:
                    raise click.ClickException("vae-sample ended before it could be killed")
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
            process.wait()
        subprocess.run([sys.executable, "-c", _SAMPLE, *arguments], check=True, capture_output=True)
        same = _sha256(whole) == _sha256(pieces)
        print(f"killed {KILLS} times and resumed: sha256 {'the same' if same else 'DIFFERS'}, {_sha256(whole)}")


def _timed(program: str, arguments: list[str]) -> tuple[float, float]:
    """Wall time in seconds and peak memory in MB of a new Python process."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program + _PEAK, *arguments], check=True, capture_output=True)
    return time.perf_counter() - started, int(done.stdout.split()[-1]) * 1024 / 1e6


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    main()
