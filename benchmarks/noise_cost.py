"""Cost of drawing the latents inside `sampler.onnx`, relative to decoding them and to drawing them in NumPy.

python benchmarks/noise_cost.py [BUNDLE] [--rounds 100]
"""

import platform
from collections.abc import Callable
from pathlib import Path
from statistics import median

import click
import numpy as np
import onnx
import onnxruntime
from in_turn import seconds_in_turn  # type: ignore[import-not-found]

from export.checks.parts import latents_part
from export.formats.to_onnx import to_onnx
from export.specs import graphs_of
from runtime.bundle import Bundle
from runtime.machine.cpus import usable_cpus
from runtime.noise import standard_normal
from runtime.prior import ANY_CLASS, prior_latents
from runtime.session import open_session
from trainer.model.vae import VAE, ModelConfig

BATCH = 1000


def _latents_of(sampler: onnx.ModelProto) -> bytes:
    part = latents_part(sampler)
    assert part is not None
    content: bytes = part.SerializeToString()
    return content


@click.command()
@click.argument("bundle", type=click.Path(exists=True, path_type=Path), default=Path("runs/latest/bundle"))
@click.option("--rounds", type=click.IntRange(1), default=100, show_default=True)
def main(bundle: Path, rounds: int) -> None:
    """Print median and minimum time for each. Calls alternate, so that other load affects all of them equally."""
    opened = Bundle.open(bundle)
    latent_dim = opened.manifest.metadata.latent_dim
    prior = opened.prior()
    # The same noise without a mixture: a sampler of N(0, I) of this size, whatever its decoder.
    model = VAE(ModelConfig(opened.manifest.metadata.image_shape, (8,), latent_dim)).eval()
    (plain,) = (spec for spec in graphs_of(model) if spec.name == "sampler")
    samplers = onnx.load_from_string(opened.read("sampler.onnx")), to_onnx(plain, opened.manifest.metadata)
    latents, noise = (open_session(_latents_of(sampler), threads=usable_cpus()) for sampler in samplers)
    decoder = open_session(opened.read("decoder.onnx"), threads=usable_cpus())
    seed, index = np.array(7), np.arange(BATCH)
    labels = {"label": index % 2} if prior is not None and prior.classes else {}
    z = prior_latents(prior, 7, index, latent_dim)
    calls: dict[str, Callable[[], object]] = {
        "decoder.onnx": lambda: decoder.run(None, {"z": z}),
        "N(0, I) in ONNX": lambda: noise.run(None, {"seed": seed, "index": index}),
        "the prior in ONNX": lambda: latents.run(None, {"seed": seed, "index": index, **labels}),
        "N(0, I) in NumPy": lambda: standard_normal(7, index, latent_dim),
        "the prior in NumPy": lambda: prior_latents(prior, 7, index, latent_dim, labels.get("label", ANY_CLASS)),
    }
    seconds = seconds_in_turn(calls, rounds)
    print(f"batch {BATCH}, {latent_dim} latents, {usable_cpus()} threads, onnxruntime {onnxruntime.__version__}")
    print(f"{platform.machine()}; {rounds} calls each, alternating; µs per image, and relative to the decoder")
    for statistic in (median, min):
        micro = {name: statistic(values) / BATCH * 1e6 for name, values in seconds.items()}
        for name, value in micro.items():
            print(f"{statistic.__name__:7} {name:24} {value:6.2f}   {value / micro['decoder.onnx']:5.2f}")


if __name__ == "__main__":
    main()
