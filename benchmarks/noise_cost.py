"""Cost of drawing the latents inside `sampler.onnx`, relative to decoding them and to drawing them in NumPy.

python benchmarks/noise_cost.py [BUNDLE] [--rounds 100]
"""

import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import click
import numpy as np
import onnx
import onnxruntime

from export.checks.parts import latents_part
from runtime.bundle import Bundle
from runtime.noise import standard_normal
from runtime.session import open_session
from runtime.threads import usable_cpus

BATCH = 1000


@click.command()
@click.argument("bundle", type=click.Path(exists=True, path_type=Path), default=Path("runs/latest/bundle"))
@click.option("--rounds", type=click.IntRange(1), default=100, show_default=True)
def main(bundle: Path, rounds: int) -> None:
    """Print median and minimum time for each. Calls alternate, so that other load affects all of them equally."""
    opened = Bundle.open(bundle)
    latent_dim = opened.manifest.metadata.latent_dim
    noise_model = latents_part(onnx.load_from_string(opened.read("sampler.onnx")))
    assert noise_model is not None
    noise, decoder = (
        open_session(content, threads=usable_cpus())
        for content in (noise_model.SerializeToString(), opened.read("decoder.onnx"))
    )
    seed, index = np.array(7), np.arange(BATCH)
    z = standard_normal(7, index, latent_dim)
    calls: dict[str, Callable[[], object]] = {
        "decoder.onnx": lambda: decoder.run(None, {"z": z}),
        "noise in sampler.onnx": lambda: noise.run(None, {"seed": seed, "index": index}),
        "noise in NumPy": lambda: standard_normal(7, index, latent_dim),
    }
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - started)
    print(f"batch {BATCH}, {latent_dim} latents, {usable_cpus()} threads, onnxruntime {onnxruntime.__version__}")
    print(f"{platform.machine()}; {rounds} calls each, alternating; µs per image, and relative to the decoder")
    for statistic in (median, min):
        micro = {name: statistic(values) / BATCH * 1e6 for name, values in seconds.items()}
        for name, value in micro.items():
            print(f"{statistic.__name__:7} {name:24} {value:6.2f}   {value / micro['decoder.onnx']:5.2f}")


if __name__ == "__main__":
    main()
