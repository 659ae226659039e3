"""Everything that is measured about one checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from runtime.arguments import check_factor
from trainer.checkpoint import Checkpoint
from trainer.data.binarize import binarize
from trainer.data.dataset import ImageData
from trainer.data.pixels import to_float
from trainer.errors import DataError
from trainer.evaluation.classifier import train_judge
from trainer.evaluation.elbo import Elbo, measure_elbo
from trainer.evaluation.nll import ImportanceNll, importance_nll, sample_count
from trainer.evaluation.sample_quality import SampleQuality, measure_samples, samples_of
from trainer.seeds import generator

Progress = Callable[[str, int, int], object]
"""Called with the name of the current task, the work done since the last call, and its total work."""

_MANY_SAMPLES, _FEW_SAMPLES = 10_000, 1_000
_SMALL_IMAGE = 3 * 64 * 64  # numbers: 10,000 of them take half a minute on two cores


@dataclass(frozen=True)
class Protocol:
    """The bounds for one form of the test images. Two protocols are different data: never compare their figures."""

    elbo: Elbo
    nll: ImportanceNll


@dataclass(frozen=True)
class Evaluation:
    """All results of `vae-evaluate`."""

    model: str
    parameters: int
    epoch: int
    trained_on: str
    data: str
    data_sha256: str
    likelihood: str
    class_names: tuple[str, ...] | None
    protocols: dict[str, Protocol]
    """By name: gray or colour, the images as they are; binarised, each value drawn once with itself as probability."""
    sample_quality: SampleQuality
    samples: Tensor
    """The samples that were judged, float32 (N, C, H, W) on the CPU; not in the JSON."""
    prior: str
    """What the samples were drawn from."""
    temperature: float
    """Factor on their noise."""
    seen_as: Tensor | None
    """Class probabilities of the samples, (N, classes), where there is a classifier; not in the JSON."""

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON: every number of the table, and every class and dimension."""
        content = asdict(self)
        del content["samples"], content["seen_as"]
        for name, protocol in self.protocols.items():
            elbo = content["protocols"][name]["elbo"]
            elbo["total"]["negative_elbo"] = protocol.elbo.total.negative_elbo
            elbo["active_by_variance"] = protocol.elbo.active_by_variance
            elbo["active_by_kl"] = protocol.elbo.active_by_kl
        return content


def check_data(checkpoint: Checkpoint, data: ImageData) -> None:
    """Raise DataError unless `data` is what the checkpoint was trained on, to the pixel."""
    if data.sha256 != checkpoint.data.sha256:
        raise DataError(
            f"the checkpoint was trained on {checkpoint.data.name} with sha256 {checkpoint.data.sha256[:8]}… but the "
            f"data set {data.name} has {data.sha256[:8]}…; give the same one with --dataset"
        )


def evaluate_checkpoint(
    checkpoint: Checkpoint,
    data: ImageData,
    *,
    k: int,
    images_with_k: int,
    samples: int | None,
    seed: int,
    device: torch.device,
    temperature: float = 1.0,
    progress: Progress = lambda what, step, total: None,
) -> Evaluation:
    """Measure bounds on all test images, and the quality of samples from the prior.

    k, images_with_k: samples of the NLL, see `importance_nll`. samples: number of images drawn from the prior; None
    means `default_samples`. seed: of all random draws. temperature: factor on the samples' noise. progress: called
    with the name of the current task, the work done since the last call, and the total. Raises DataError if `data` is
    not the data set of the checkpoint, and InputError for a temperature that is no number from 0 to 1e30.
    """
    check_data(checkpoint, data)
    check_factor("temperature", temperature)
    model = checkpoint.build_model().to(device)
    settings = checkpoint.settings
    pixels = torch.tensor(data.test_images, device=device)
    forms = {_kind(checkpoint): pixels}
    if settings.likelihood == "bernoulli":  # the others are densities of gray values, no probabilities of two values
        forms["binarised"] = binarize(pixels, "dynamic", generator(seed, "binarize", device=device))
    total = sample_count(len(pixels), k, images_with_k)
    protocols = {}
    for name, form in forms.items():
        image = to_float(form)

        def advance(done: int, name: str = name) -> None:
            progress(f"NLL of {name} images", done, total)

        protocols[name] = Protocol(
            measure_elbo(model, form, data.test_labels, likelihood=settings.likelihood, seed=seed),
            importance_nll(
                model,
                image,
                k=k,
                likelihood=settings.likelihood,
                images_with_k=images_with_k,
                seed=seed,
                advance=advance,
            ),
        )
    judge = None
    if data.train_labels is not None:
        judge = train_judge(data, device, lambda step, steps: progress("training the classifier", 1, steps))
    num = samples or default_samples(checkpoint)
    drawn = samples_of(model, checkpoint.prior, data, num, seed, temperature)
    return Evaluation(
        model=model.architecture,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        epoch=checkpoint.epoch,
        trained_on=_trained_on(checkpoint),
        data=data.name,
        data_sha256=data.sha256,
        likelihood=settings.likelihood,
        class_names=data.class_names,
        protocols=protocols,
        sample_quality=measure_samples(drawn, data, judge),
        samples=drawn.images.cpu(),
        seen_as=None if judge is None else judge.judge(drawn.images)[1],
        prior="N(0, I)" if checkpoint.prior is None else f"mixture of {checkpoint.prior.components} Gaussians",
        temperature=temperature,
    )


def default_samples(checkpoint: Checkpoint) -> int:
    """10,000, which makes FID steady, or 1,000 where drawing and judging so many would take over a minute."""
    return _MANY_SAMPLES if checkpoint.model_config.pixels <= _SMALL_IMAGE else _FEW_SAMPLES


def _trained_on(checkpoint: Checkpoint) -> str:
    settings = checkpoint.settings
    pixels = f"{_kind(checkpoint)} pixels" if settings.binarize == "none" else f"pixels binarised ({settings.binarize})"
    return f"{pixels}, {settings.bound} with k = {settings.draws}, β {settings.beta:g}, {settings.likelihood}"


def _kind(checkpoint: Checkpoint) -> str:
    return "gray" if checkpoint.model_config.image_shape[0] == 1 else "colour"
