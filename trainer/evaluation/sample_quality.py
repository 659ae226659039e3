"""Samples from the prior, judged by a classifier of the real images and by their nearest training images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from runtime.prior import Prior, prior_latents
from trainer.data.dataset import ImageData
from trainer.data.pixels import to_float
from trainer.evaluation.classifier import Judge
from trainer.model.vae import VAE

_TRAIN_CHUNK = 5000  # training images compared at once
_DECODED_AT_ONCE = 1000
_COMPARED = 1000  # samples whose nearest training image is looked for
_SURELY_NEARER = 0.9  # copy_distance / reconstruction_distance below which the two are told apart
_REFERENCES = 10_000  # training images, chosen at random, that represent the training set in FID


@dataclass(frozen=True)
class Verdict:
    """Statistics of the classifier on the samples, and on the same number of real test images."""

    accuracy: float
    """Accuracy of the classifier on all real test images."""
    confidence: float
    """Mean probability of the most likely class."""
    real_confidence: float
    histogram: dict[int, float]
    """Share of each label among the samples, as the classifier sees them."""
    real_histogram: dict[int, float]
    """Share of each label in the training set."""
    fid: float
    """Fréchet distance to the training images in the classifier's features. Compares only with the same classifier."""
    real_fid: float
    """The same for as many real test images: what a perfect model would get."""
    normal_fid: float
    """The same for samples from N(0, I), whatever the prior is."""
    reconstruction_fid: float
    """The same for reconstructions of the real test images: what a perfect prior would get."""
    agreement: float | None
    """Share of samples that the classifier sees as the class that the prior drew; None for N(0, I)."""


@dataclass(frozen=True)
class SampleQuality:
    """Distances of samples to the training set, and the verdict of the classifier."""

    samples: int
    distance: float
    """Median over samples of the Euclidean distance to the nearest training image, pixels in [0, 1]."""
    real_distance: float
    """The same for as many real test images. Samples much nearer than that are copies."""
    nearest: float
    """The smallest distance of all samples."""
    reconstruction_distance: float
    """The same for reconstructions of test images: what samples that are no copies are expected to have."""
    copy_distance: float
    """The same for reconstructions of training images: what samples that are copies would have."""
    verdict: Verdict | None
    """None where the data has no labels."""

    @property
    def copies(self) -> bool:
        """Whether most samples are copies: `distance` is nearer to `copy_distance` than to `reconstruction_distance`.

        False where these two are too close to tell copies apart, which holds for large training sets.
        """
        apart = self.copy_distance < _SURELY_NEARER * self.reconstruction_distance
        return apart and self.distance < (self.copy_distance + self.reconstruction_distance) / 2


@dataclass(frozen=True)
class Samples:
    """Samples to judge, all float32 (N, C, H, W) in [0, 1] on one device."""

    images: Tensor
    """From the checkpoint's prior, with the temperature that was asked for."""
    classes: npt.NDArray[np.int64] | None
    """Class that the prior drew, as its place among the classes, (N,); None where it knows none."""
    normal: Tensor
    """From N(0, I)."""
    reconstructions: Tensor
    """Of test images, through the posterior mean."""
    copies: Tensor
    """Reconstructions of training images."""


def draw_samples(model: VAE, prior: Prior | None, num: int, seed: int, temperature: float = 1.0) -> Tensor:
    """Samples 0 … num - 1 of `seed`, the same that `vae-sample` draws: float32 (num, C, H, W) on the model's device.

    prior: None for N(0, I). temperature: factor on the noise.
    """
    latents = prior_latents(prior, seed, np.arange(num), model.config.latent_dim, temperature=temperature)
    return _decode(model, latents)


def samples_of(
    model: VAE, prior: Prior | None, data: ImageData, num: int, seed: int, temperature: float = 1.0
) -> Samples:
    """`num` samples and what they are compared with; fewer reconstructions where there are fewer images."""
    return Samples(
        images=draw_samples(model, prior, num, seed, temperature),
        classes=prior.labels(seed, np.arange(num)) if prior is not None and prior.classes else None,
        normal=draw_samples(model, None, num, seed),
        reconstructions=_reconstruct(model, data.test_images, num),
        copies=_reconstruct(model, data.train_images, min(num, _COMPARED)),
    )


def measure_samples(samples: Samples, data: ImageData, judge: Judge | None) -> SampleQuality:
    """Compare samples with the training images, and with as many real test images as there are samples.

    Where there are fewer test images than samples, all of them are taken. Distances are those of 1,000 images of each
    kind at most.
    """
    count = min(len(samples.images), len(data.test_images))
    chosen = data.test_images[_choose(count, len(data.test_images))]
    real = to_float(torch.tensor(chosen, device=samples.images.device))
    distance, real_distance, reconstruction_distance, copy_distance = (
        nearest_distance(images[:_COMPARED], data.train_images)
        for images in (samples.images, real, samples.reconstructions, samples.copies)
    )
    return SampleQuality(
        samples=len(samples.images),
        distance=float(distance.median()),
        real_distance=float(real_distance.median()),
        nearest=float(distance.min()),
        reconstruction_distance=float(reconstruction_distance.median()),
        copy_distance=float(copy_distance.median()),
        verdict=None if judge is None else _judge(samples, real, data, judge),
    )


@torch.no_grad()
def _decode(model: VAE, z: npt.NDArray[np.float32]) -> Tensor:
    latents = torch.from_numpy(z).to(model.mean.weight.device)
    return torch.cat([model.decode(part) for part in latents.split(_DECODED_AT_ONCE)])


@torch.no_grad()
def _reconstruct(model: VAE, images: npt.NDArray[np.uint8], num: int) -> Tensor:
    """Reconstructions of up to `num` of the images through the posterior mean: float32 (n, C, H, W)."""
    device = model.mean.weight.device
    chosen = torch.tensor(images[_choose(min(num, len(images)), len(images))])
    parts = [model(to_float(part.to(device)))[0] for part in chosen.split(_DECODED_AT_ONCE)]
    return torch.cat(parts)


@torch.no_grad()
def nearest_distance(images: Tensor, train_images: npt.NDArray[np.uint8]) -> Tensor:
    """Euclidean distance of float32 images (N, C, H, W) in [0, 1] to the nearest of uint8 (M, H, W, C): (N,)."""
    flat = images.flatten(1)
    squares = flat.square().sum(1)
    nearest = torch.full_like(squares, torch.inf)
    for train in _in_chunks(train_images, images.device):
        train = train.flatten(1)
        cross = torch.addmm(train.square().sum(1), flat, train.T, alpha=-2)  # |t|² − 2 f·t: (N, chunk)
        nearest = torch.minimum(nearest, squares + cross.min(1).values)
    return nearest.clamp_min(0).sqrt().cpu()


def frechet_distance(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """|μ_a − μ_b|² + tr(Σ_a + Σ_b − 2 (Σ_a Σ_b)^½) of two sets of features, (N, F) and (M, F): Heusel et al. 2017."""
    covariance_a, covariance_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(covariance_a)
    root_a = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    # tr (Σ_a Σ_b)^½ through the symmetric matrix with the same eigenvalues, which rounding cannot make complex.
    cross = np.sqrt(np.linalg.eigvalsh(root_a @ covariance_b @ root_a).clip(0)).sum()
    gap = a.mean(0) - b.mean(0)
    return float(gap @ gap + np.trace(covariance_a) + np.trace(covariance_b) - 2 * cross)


def _judge(samples: Samples, real: Tensor, data: ImageData, judge: Judge) -> Verdict:
    total = len(data.train_images)
    references = data.train_images[_choose(min(_REFERENCES, total), total)]
    train = judge.judge_pixels(torch.tensor(references, device=real.device))[0].double().numpy()

    def fid(features: Tensor) -> float:
        return frechet_distance(features.double().numpy(), train)

    features, probabilities = judge.judge(samples.images)
    real_features, real_probabilities = judge.judge(real)
    label = probabilities.argmax(1).numpy()
    seen = np.bincount(label, minlength=len(judge.classes)) / len(samples.images)
    return Verdict(
        accuracy=judge.accuracy,
        confidence=float(probabilities.amax(1).mean()),
        real_confidence=float(real_probabilities.amax(1).mean()),
        histogram=dict(zip(judge.classes, seen.tolist(), strict=True)),
        real_histogram=dict(zip(judge.classes, judge.shares, strict=True)),
        fid=fid(features),
        real_fid=fid(real_features),
        normal_fid=fid(judge.judge(samples.normal)[0]),
        reconstruction_fid=fid(judge.judge(samples.reconstructions)[0]),
        agreement=None if samples.classes is None else float((label == samples.classes).mean()),
    )


def _choose(count: int, total: int) -> npt.NDArray[np.int64]:
    """`count` of the indices 0 … total - 1, ascending; chosen at random, but always the same.

    Evenly spaced ones would not represent MNIST's training set, in which two groups of writers alternate: with every
    sixth image, the FID of real images rises from 4 to 10.
    """
    return np.sort(np.random.default_rng(0).permutation(total)[:count])


def _in_chunks(images: npt.NDArray[np.uint8], device: torch.device) -> Iterator[Tensor]:
    for start in range(0, len(images), _TRAIN_CHUNK):
        yield to_float(torch.tensor(images[start : start + _TRAIN_CHUNK], device=device))
