"""Smaller variants, int8 and fp16: made of ONNX files, measured against float32, and refused if too inaccurate."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch

from export.checks.parts import latents_part
from export.errors import ExportError, ValuesError
from export.formats.quantize import to_fp16_weights, to_int8
from runtime.images.pixels import to_float
from runtime.machine.cpus import usable_cpus
from runtime.manifest import ONNX_FP16
from runtime.noise import POSTERIOR_STREAM, standard_normal
from runtime.prior import ANY_CLASS, Prior, prior_latents
from runtime.session import open_session
from trainer.objective.bound import negative_elbo

SMALLEST_PSNR_DB = 35.0
"""Below this the difference starts to be visible on an ordinary display; refused unless forced."""

_CALIBRATION_ROWS = 256
_CALIBRATION_SHARE = 4  # of the rows of other calls at most: the calibration keeps every activation
_ROWS = 1000  # batch size of the timed calls, and number of images that PSNR compares
_ROUNDS = 15  # timed calls of each decoder
_MOST_SECONDS = 20.0  # of timing; after that there are fewer rounds
_TEST_SEED = 1  # the calibration uses 0
_SMALLEST_PROBABILITY = 1e-7  # a float32 sigmoid can be exactly 0 or 1, whose logit is infinite

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Runnable:
    """The graphs in one precision, ready to run; arrays in, arrays out, as the graphs have them."""

    bytes: int
    """As in `VariantReport`."""
    decoder: Callable[[npt.NDArray[Any]], list[npt.NDArray[Any]]]
    encoder: Callable[[npt.NDArray[Any]], list[npt.NDArray[Any]]] | None
    """None for a generator without an encoder."""
    latents: Callable[..., npt.NDArray[Any]] | None
    """(seed, index, label) → latents; label only where the sampler takes one. None where NumPy draws them anyway."""


@dataclass(frozen=True)
class VariantReport:
    """Size, quality and speed of a variant of all four graphs. PSNR and speed are those of the decoder."""

    bytes: int
    """Total size of the four ONNX files; of C source, of the weights and tables in the compiled file."""
    float_bytes: int
    psnr_db: float
    """Peak signal-to-noise ratio of 1,000 decoded images w.r.t. the float32 file: full range over RMS error."""
    likelihood: str | None
    """Pixel likelihood that the model was trained with; None where it is not known."""
    elbo_loss_nats: float | None
    """None without a likelihood. Decrease of the evidence lower bound of the reference images, in nats per image."""
    images_per_s: float
    float_images_per_s: float

    def quality(self) -> str:
        """One line on size and quality, which are the same in every run."""
        text = (
            f"{self.bytes:,} bytes against {self.float_bytes:,} ({self.bytes / self.float_bytes:.0%}), "
            f"PSNR {self.psnr_db:.1f} dB"
        )
        if self.elbo_loss_nats is None:
            return text
        return f"{text}, ELBO ({self.likelihood}) {-self.elbo_loss_nats:+.3f} nats per image"

    def speed(self) -> str:
        """One line on the speed of the decoder at batch size 1000, which depends on the machine."""
        ratio = self.images_per_s / self.float_images_per_s
        verdict = "" if ratio > 1 else ": not faster on this machine"
        return (
            f"decoder {self.images_per_s:,.0f} images/s against {self.float_images_per_s:,.0f}, {ratio:.2f} times"
            f"{verdict}"
        )


def make_variant(
    file_format: str,
    files: Mapping[str, bytes],
    reference_images: Pixels,
    latent_dim: int,
    prior: Prior | None = None,
    *,
    rows: int = _ROWS,
) -> dict[str, bytes]:
    """Convert every graph to `file_format`, ONNX_INT8 or ONNX_FP16.

    files: graph → content of its float32 ONNX file. rows: the largest batch of a call.
    """
    if file_format == ONNX_FP16:
        return {graph: to_fp16_weights(content) for graph, content in files.items()}
    calibration = _calibration(files.get("encoder"), reference_images, latent_dim, prior, rows)
    return {graph: to_int8(content, calibration[graph]) for graph, content in files.items()}


def onnx_runnable(files: Mapping[str, bytes]) -> Runnable:
    """Graphs in onnxruntime, with as many threads as there are usable CPUs. files: graph → content of its ONNX file."""
    part = latents_part(onnx.load_from_string(files["sampler"]))
    assert part is not None
    latents = _session(part.SerializeToString())
    return Runnable(
        bytes=sum(map(len, files.values())),
        decoder=partial(_run, _session(files["decoder"])),
        encoder=partial(_run, _session(files["encoder"])) if "encoder" in files else None,
        latents=lambda *inputs: _run(latents, *inputs)[0],
    )


def measure_variant(
    file_format: str,
    full: Runnable,
    small: Runnable,
    reference_images: Pixels,
    latent_dim: int,
    prior: Prior | None = None,
    *,
    likelihood: str | None,
    log_variance: torch.Tensor | None = None,
    force: bool = False,
    rows: int = _ROWS,
) -> VariantReport:
    """Compare a variant with float32 in the same engine.

    full, small: float32 and the variant. likelihood, log_variance: those the model was trained with, see
    `trainer.objective.likelihood.nll_of`; without a likelihood no ELBO is measured. rows: images that are compared and
    timed. Raises ValuesError where an image depends on its batch or a latent differs, and ExportError where PSNR is
    below SMALLEST_PSNR_DB, unless force is set.
    """
    _check_latents(file_format, small, latent_dim, prior)
    z = prior_latents(prior, _TEST_SEED, np.arange(rows), latent_dim)
    image, small_image = full.decoder(z)[0], small.decoder(z)[0]
    _check_batch_independence(file_format, small, z, small_image)
    psnr = -10 * np.log10(np.square(image.astype(np.float64) - small_image).mean())
    if not psnr >= SMALLEST_PSNR_DB and not force:
        raise ExportError(
            f"{file_format}: PSNR against float32 is {psnr:.1f} dB, below the {SMALLEST_PSNR_DB:g} dB that are "
            "allowed; leave the variant out, or --force it; nothing was published"
        )
    elbo_loss = None
    if likelihood is not None and full.encoder is not None:
        elbo, small_elbo = (
            _elbo(runnable, reference_images, latent_dim, likelihood, log_variance) for runnable in (full, small)
        )
        elbo_loss = elbo - small_elbo
    seconds = _seconds({"float": lambda: full.decoder(z), "small": lambda: small.decoder(z)})
    return VariantReport(
        bytes=small.bytes,
        float_bytes=full.bytes,
        psnr_db=float(psnr),
        likelihood=likelihood,
        elbo_loss_nats=elbo_loss,
        images_per_s=rows / seconds["small"],
        float_images_per_s=rows / seconds["float"],
    )


def _calibration(
    encoder: bytes | None, reference_images: Pixels, latent_dim: int, prior: Prior | None, rows: int
) -> dict[str, dict[str, npt.NDArray[Any]]]:
    """Typical inputs of each graph: test images, their posterior means, and latents from the prior."""
    count = min(_CALIBRATION_ROWS, max(2, rows // _CALIBRATION_SHARE) if rows < _ROWS else rows)
    pixels = reference_images[:count]
    image = to_float(pixels)
    index = np.arange(count)
    latents = prior_latents(prior, 0, index, latent_dim)
    if encoder is not None:
        latents = np.concatenate([latents, _run(_session(encoder), image)[0]])
    labels = {"label": np.full(len(index), ANY_CLASS)} if prior is not None and prior.classes else {}
    return {
        "decoder": {"z": latents},
        "encoder": {"image": image},
        "sampler": {"seed": np.array(0), "index": index, "temperature": np.array(1, np.float32), **labels},
        "reconstructor": {"image": pixels},
    }


def _check_latents(file_format: str, small: Runnable, latent_dim: int, prior: Prior | None) -> None:
    if small.latents is None:
        return
    index = np.arange(_ROWS)
    labels: list[npt.NDArray[Any]] = []
    label: npt.NDArray[Any] | int = ANY_CLASS
    if prior is not None and prior.classes:
        label = index % (len(prior.classes) + 1) + ANY_CLASS
        labels = [label]
    latents = small.latents(np.array(_TEST_SEED), index, *labels)
    if (latents != prior_latents(prior, _TEST_SEED, index, latent_dim, label)).any():
        raise ValuesError(f"sampler as {file_format}: its latents differ from those of float32; nothing was published")


def _check_batch_independence(
    file_format: str, small: Runnable, z: npt.NDArray[Any], together: npt.NDArray[Any]
) -> None:
    """Static scales cannot depend on the batch: an image decoded alone must not differ from the one in a batch."""
    for row in (0, len(z) // 2):
        difference = float(np.abs(small.decoder(z[row : row + 1])[0] - together[row : row + 1]).max())
        if not difference <= np.finfo(np.float32).eps:
            raise ValuesError(
                f"decoder as {file_format}: an image changes by {difference:.3g} with its batch; nothing was published"
            )


def _elbo(
    runnable: Runnable,
    reference_images: Pixels,
    latent_dim: int,
    likelihood: str,
    log_variance: torch.Tensor | None,
) -> float:
    """Evidence lower bound in nats, mean over the reference images, with one posterior draw each."""
    assert runnable.encoder is not None
    image = to_float(reference_images)
    mean, log_var = (output.astype(np.float64) for output in runnable.encoder(image))
    noise = standard_normal(_TEST_SEED, np.arange(len(image)), latent_dim, stream=POSTERIOR_STREAM)
    z = (mean + np.exp(log_var / 2) * noise).astype(np.float32)
    decoded = runnable.decoder(z)[0].astype(np.float64)
    p = np.clip(decoded, _SMALLEST_PROBABILITY, 1 - _SMALLEST_PROBABILITY)
    logits = np.log(p) - np.log1p(-p)
    loss = negative_elbo(
        torch.from_numpy(logits),
        torch.from_numpy(image.astype(np.float64)),
        torch.from_numpy(mean),
        torch.from_numpy(log_var),
        likelihood,
        None if log_variance is None else log_variance.detach().double(),
    )
    return -float(loss.mean())


def _seconds(functions: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Median seconds per call of each function. Calls alternate, so that other load affects all of them equally."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    began = time.perf_counter()
    for round_number in range(_ROUNDS):
        if round_number and time.perf_counter() - began > _MOST_SECONDS:
            break
        for name, function in functions.items():
            started = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - started)
    return {name: median(values) for name, values in seconds.items()}


def _session(content: bytes) -> onnxruntime.InferenceSession:
    return open_session(content, threads=usable_cpus())


def _run(session: onnxruntime.InferenceSession, *inputs: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    names = [port.name for port in session.get_inputs()]
    outputs: list[npt.NDArray[Any]] = session.run(None, dict(zip(names, inputs, strict=True)))
    return outputs
