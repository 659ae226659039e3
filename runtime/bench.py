"""Measures the speed of a bundle on this machine and compares it with the machine's peak."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from runtime.bundle import Bundle
from runtime.errors import VaeRuntimeError
from runtime.onnx_guard.external_data import dense_weights
from runtime.providers import CPU, check_providers, short_name
from runtime.sampler import Sampler
from runtime.session import GraphSession

_BATCHES = (1, 8, 64, 512, 4096, 32768)
_BARE_BATCHES = (64, 128, 256, 512, 1024)
_BARE_BATCHES_OF_LARGE = (1, 4, 16)
_MOST_SECONDS = 10.0  # of one call; batches of a large model that would take longer are left out
_COLD_STARTS = 5
_GEMM_SIZE = 1024
# VmHWM is in KiB, though it says kB, and covers only this program; getrusage would include the parent's memory at the
# time of the fork.
_COLD_PROGRAM = """
import json, pathlib, sys
from runtime.cli import sample
sample(sys.argv[1:], standalone_mode=False)
status = pathlib.Path("/proc/self/status")
lines = status.read_text().splitlines() if status.exists() else []
print(json.dumps({"peak_kib": next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), None)}))
"""


@dataclass(frozen=True)
class Rate:
    """Throughput from seeds to uint8 images for one batch size."""

    batch: int
    """Images per call of `Sampler.sample`."""
    threads: int
    images_per_s: float
    provider: str = "cpu"
    """Short names of the execution providers, joined by "+"."""


@dataclass(frozen=True)
class Bench:
    """The measurements. All are medians, except percentiles and peaks."""

    precision: str
    threads: int
    cold_start_s: float
    """Wall time of a `vae-sample --num 1` process from start to exit."""
    cold_peak_mb: float | None
    """Peak resident memory; None if the system does not report it."""
    latency_us: dict[str, float]
    """Latency of one image after warm-up: p50, p90, p99."""
    rates: list[Rate]
    decoder_images_per_s: float
    """The decoder graph alone, with onnxruntime's own threads, at the fastest of a few batch sizes."""
    gemm_gflops: float
    """Rate of a 1024×1024×1024 float32 matrix product in NumPy."""
    gemm_images_per_s: float | None
    """Images/s of the decoder at that rate; None if it is not a chain of dense layers."""


def run_bench(
    folder: Path,
    *,
    precision: str = "float32",
    threads: int | None = None,
    seconds: float = 0.5,
    providers: Sequence[str] | None = None,
) -> Bench:
    """Measure the bundle in `folder`, on the CPU.

    seconds: time spent per figure. providers: as for `Sampler`; the throughput with them is measured as well. Raises
    what `Sampler` raises, and VaeRuntimeError where a fresh process fails.
    """
    other = check_providers(providers)
    bundle = Bundle.open(folder)
    sampler = Sampler(bundle, precision=precision, threads=threads)
    cold_start_s, cold_peak_mb = _cold_start(folder, precision)
    one = _timings(lambda i: sampler.sample(1, first=i), seconds)
    counts = sorted({1, sampler.threads})
    largest_batch = max(1, _MOST_SECONDS / float(np.median(one)))
    rates = [
        _rate(each, batch, seconds)
        for each in (Sampler(bundle, precision=precision, threads=count) for count in counts)
        for batch in _BATCHES
        if batch <= largest_batch
    ]
    if other != (CPU,):
        on_other = Sampler(bundle, precision=precision, threads=threads, providers=other)
        rates += [_rate(on_other, batch, seconds) for batch in _BATCHES]
    gemm_gflops = _gemm_gflops(seconds)
    weights = dense_weights(bundle.read(bundle.graph_file("decoder", "onnx")))
    return Bench(
        precision=precision,
        threads=sampler.threads,
        cold_start_s=cold_start_s,
        cold_peak_mb=cold_peak_mb,
        latency_us={f"p{q}": float(np.percentile(one, q)) * 1e6 for q in (50, 90, 99)},
        rates=rates,
        decoder_images_per_s=bare_decoder_rate(bundle, precision, sampler.threads, seconds),
        gemm_gflops=gemm_gflops,
        gemm_images_per_s=None if weights is None else gemm_gflops * 1e9 / (2 * weights),
    )


def bare_decoder_rate(bundle: Bundle, precision: str, threads: int, seconds: float) -> float:
    """Images per second of the decoder graph alone (no noise, no rounding), at the fastest of a few batch sizes.

    threads: of onnxruntime within a call. seconds: twice the time spent per batch size.
    """
    graph = GraphSession(bundle, "decoder", precision=precision, threads=threads)
    random = np.random.default_rng(0)
    best = 0.0
    most = bundle.manifest.largest_batch
    for batch in _BARE_BATCHES_OF_LARGE if graph.large else _BARE_BATCHES:
        batch = min(batch, most or batch)
        z = random.standard_normal((batch, bundle.manifest.metadata.latent_dim), np.float32)
        best = max(best, batch / median(_timings(lambda i: graph.run(z), seconds / 2)))  # noqa: B023 (called here)
    return best


def _rate(sampler: Sampler, batch: int, seconds: float) -> Rate:
    timings = _timings(lambda i: sampler.sample(batch, first=i * batch), seconds)
    return Rate(batch, sampler.threads, batch / median(timings), "+".join(map(short_name, sampler.providers)))


def _timings(call: Callable[[int], object], seconds: float) -> list[float]:
    """Wall time of each call after a warm-up call; repeats for about `seconds`, but at least three times."""
    call(0)
    timings: list[float] = []
    end = time.perf_counter() + seconds
    while len(timings) < 3 or time.perf_counter() < end:
        started = time.perf_counter()
        call(len(timings))
        timings.append(time.perf_counter() - started)
    return timings


def _gemm_gflops(seconds: float) -> float:
    random = np.random.default_rng(0)
    a, b = random.standard_normal((2, _GEMM_SIZE, _GEMM_SIZE), np.float32)
    out = np.empty_like(a)
    return float(2 * _GEMM_SIZE**3 / min(_timings(lambda i: np.matmul(a, b, out=out), seconds)) / 1e9)


def _cold_start(folder: Path, precision: str) -> tuple[float, float | None]:
    """Median seconds and peak MB of new processes that each write one image; the first only fills the file cache."""
    timings, peaks = [], []
    with tempfile.TemporaryDirectory() as scratch:
        arguments = [str(folder), "--num", "1", "--precision", precision, "--output", str(Path(scratch) / "one.png")]
        for _ in range(_COLD_STARTS + 1):
            started = time.perf_counter()
            done = subprocess.run([sys.executable, "-c", _COLD_PROGRAM, *arguments], capture_output=True, text=True)
            timings.append(time.perf_counter() - started)
            if done.returncode:
                raise VaeRuntimeError(f"a fresh process could not draw one image: {done.stderr.strip()}")
            peaks.append(json.loads(done.stdout.splitlines()[-1])["peak_kib"])
    known = [peak * 1024 / 1e6 for peak in peaks if peak is not None]
    return median(timings[1:]), max(known) if known else None
