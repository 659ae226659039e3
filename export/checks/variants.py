"""The smaller variants of the ONNX files: makes them, measures what they cost, refuses them where it is too much."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

from export.checks.engines import noise_part
from export.errors import ExportError, ValuesError
from export.formats.quantize import to_fp16_weights, to_int8
from runtime.images.pixels import to_float
from runtime.noise import POSTERIOR_STREAM, standard_normal
from runtime.threads import usable_cpus
from trainer.objective.likelihood import NLL

SMALLEST_PSNR_DB = 35.0
"""Below this an eye begins to see the difference on a plain display; refused unless forced."""
INT8, FP16 = "onnx-int8", "onnx-fp16"
SUFFIXES = {INT8: ".int8.onnx", FP16: ".fp16.onnx"}

_CALIBRATION_ROWS = 256
_ROWS = 1000  # of a timed call, and of the images that PSNR compares
_ROUNDS = 15
_TEST_SEED = 1  # not that of the calibration
_SMALLEST_PROBABILITY = 1e-7  # sigmoid in float32 reaches 0, whose logarithm does not exist

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class VariantReport:
    """What a variant of all graphs costs and gains; speed and PSNR are the decoder's."""

    file_format: str
    bytes: int
    """Of all four files together."""
    float_bytes: int
    psnr_db: float
    """Of 1,000 decoded images, full range against root mean square error, against the float32 file."""
    likelihood: str
    """Of a pixel: what the model was trained on."""
    elbo_loss_nats: float
    """How much the evidence lower bound of the reference images falls with that likelihood, in nats per image."""
    images_per_s: float
    float_images_per_s: float

    def quality(self) -> str:
        """Size and quality: what stays the same from run to run."""
        return (
            f"{self.bytes:,} bytes against {self.float_bytes:,} ({self.bytes / self.float_bytes:.0%}), "
            f"PSNR {self.psnr_db:.1f} dB, ELBO ({self.likelihood}) {-self.elbo_loss_nats:+.3f} nats per image"
        )

    def speed(self) -> str:
        """Decoder at batch 1000, both measured in turn."""
        ratio = self.images_per_s / self.float_images_per_s
        verdict = "" if ratio > 1 else ": not faster on this machine"
        return (
            f"decoder {self.images_per_s:,.0f} images/s against {self.float_images_per_s:,.0f}, {ratio:.2f} times"
            f"{verdict}"
        )


def make_variant(
    file_format: str, files: Mapping[str, bytes], reference_images: Pixels, latent_dim: int
) -> dict[str, bytes]:
    """Every graph in a smaller format. files: graph → content of its float ONNX file."""
    if file_format == FP16:
        return {graph: to_fp16_weights(content) for graph, content in files.items()}
    calibration = _calibration(files["encoder"], reference_images, latent_dim)
    return {graph: to_int8(content, calibration[graph]) for graph, content in files.items()}


def measure_variant(
    file_format: str,
    files: Mapping[str, bytes],
    variants: Mapping[str, bytes],
    reference_images: Pixels,
    latent_dim: int,
    *,
    likelihood: str,
    force: bool = False,
) -> VariantReport:
    """Compare a variant with its float files in onnxruntime, in one run, on the processors usable here.

    likelihood: that the model was trained on, a name in `trainer.objective.likelihood.NLL`.
    Raises ValuesError where an output depends on its batch or a latent changed, and ExportError where PSNR is below
    SMALLEST_PSNR_DB and not forced.
    """
    _check_latents(file_format, variants["sampler"], latent_dim)
    decoder, small_decoder = _session(files["decoder"]), _session(variants["decoder"])
    z = standard_normal(_TEST_SEED, np.arange(_ROWS), latent_dim)
    image, small_image = _run(decoder, z)[0], _run(small_decoder, z)[0]
    _check_batch_independence(file_format, small_decoder, z, small_image)
    psnr = -10 * np.log10(np.square(image.astype(np.float64) - small_image).mean())
    if not psnr >= SMALLEST_PSNR_DB and not force:
        raise ExportError(
            f"{file_format}: PSNR against float32 is {psnr:.1f} dB, below the {SMALLEST_PSNR_DB:g} dB that are "
            "allowed; leave the variant out, or --force it; nothing was published"
        )
    elbo, small_elbo = (_elbo(content, reference_images, latent_dim, likelihood) for content in (files, variants))
    seconds = _seconds({"float": lambda: _run(decoder, z), "small": lambda: _run(small_decoder, z)})
    return VariantReport(
        file_format,
        bytes=sum(map(len, variants.values())),
        float_bytes=sum(map(len, files.values())),
        psnr_db=float(psnr),
        likelihood=likelihood,
        elbo_loss_nats=elbo - small_elbo,
        images_per_s=_ROWS / seconds["small"],
        float_images_per_s=_ROWS / seconds["float"],
    )


def _calibration(encoder: bytes, reference_images: Pixels, latent_dim: int) -> dict[str, dict[str, npt.NDArray[Any]]]:
    """For each graph its inputs as they will be: real images, their latents, and latents of the prior."""
    pixels = reference_images[:_CALIBRATION_ROWS]
    image = to_float(pixels)
    index = np.arange(_CALIBRATION_ROWS)
    mean = _run(_session(encoder), image)[0]
    latents = np.concatenate([standard_normal(0, index, latent_dim), mean])
    return {
        "decoder": {"z": latents},
        "encoder": {"image": image},
        "sampler": {"seed": np.array(0), "index": index, "temperature": np.array(1, np.float32)},
        "reconstructor": {"image": pixels},
    }


def _check_latents(file_format: str, sampler: bytes, latent_dim: int) -> None:
    noise = noise_part(sampler)
    assert noise is not None
    index = np.arange(_ROWS)
    latents = _run(_session(noise.SerializeToString()), np.array(_TEST_SEED), index)[0]
    if (latents != standard_normal(_TEST_SEED, index, latent_dim)).any():
        raise ValuesError(f"sampler as {file_format}: its latents are not those of the contract; nothing was published")


def _check_batch_independence(
    file_format: str, session: onnxruntime.InferenceSession, z: npt.NDArray[Any], together: npt.NDArray[Any]
) -> None:
    """A scale that is fixed in the file cannot depend on the batch: an image must be the same alone, to the bit."""
    for row in (0, len(z) // 2):
        difference = float(np.abs(_run(session, z[row : row + 1])[0] - together[row : row + 1]).max())
        if not difference <= np.finfo(np.float32).eps:
            raise ValuesError(
                f"decoder as {file_format}: an image differs by {difference:.3g} when its batch does; "
                "nothing was published"
            )


def _elbo(files: Mapping[str, bytes], reference_images: Pixels, latent_dim: int, likelihood: str) -> float:
    """Evidence lower bound, mean over the reference images, in nats."""
    image = to_float(reference_images)
    mean, log_var = (output.astype(np.float64) for output in _run(_session(files["encoder"]), image))
    noise = standard_normal(_TEST_SEED, np.arange(len(image)), latent_dim, stream=POSTERIOR_STREAM)
    z = (mean + np.exp(log_var / 2) * noise).astype(np.float32)
    decoded = _run(_session(files["decoder"]), z)[0].astype(np.float64)
    p = np.clip(decoded, _SMALLEST_PROBABILITY, 1 - _SMALLEST_PROBABILITY)
    logits = torch.from_numpy(np.log(p) - np.log1p(-p))
    log_likelihood = -NLL[likelihood](logits, torch.from_numpy(image.astype(np.float64))).numpy()
    kl = 0.5 * (mean**2 + np.exp(log_var) - 1 - log_var).sum(1)
    return float((log_likelihood - kl).mean())


def _seconds(functions: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Median seconds of a call of each, taken in turn so that a busy machine hits all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(_ROUNDS):
        for name, function in functions.items():
            started = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - started)
    return {name: median(values) for name, values in seconds.items()}


def _session(content: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_cpus()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _run(session: onnxruntime.InferenceSession, *inputs: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    names = [port.name for port in session.get_inputs()]
    outputs: list[npt.NDArray[Any]] = session.run(None, dict(zip(names, inputs, strict=True)))
    return outputs
