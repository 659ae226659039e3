"""Samples from the prior, judged by a classifier of the real images and by their nearest training images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainer.data.dataset import ImageData
from trainer.data.pixels import to_float
from trainer.evaluation.classifier import Judge
from trainer.model.vae import VAE
from trainer.seeds import generator

_TRAIN_CHUNK = 5000  # training images compared at once
_DECODED_AT_ONCE = 1000
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
    verdict: Verdict | None
    """None where the data has no labels."""


@torch.no_grad()
def draw_samples(model: VAE, num: int, seed: int) -> Tensor:
    """`num` images from the prior, float32 (num, C, H, W) in [0, 1] on the model's device."""
    device = model.mean.weight.device
    z = torch.randn(num, model.config.latent_dim, generator=generator(seed, "pictures", device=device), device=device)
    return torch.cat([model.decode(part) for part in z.split(_DECODED_AT_ONCE)])


def measure_samples(samples: Tensor, data: ImageData, judge: Judge | None) -> SampleQuality:
    """Compare samples, float32 (N, C, H, W) in [0, 1], with the training images and with N real test images.

    Where there are fewer than N test images, all of them are taken.
    """
    device = samples.device
    count = min(len(samples), len(data.test_images))
    real = to_float(torch.tensor(data.test_images[_choose(count, len(data.test_images))], device=device))
    distance, real_distance = (nearest_distance(images, data.train_images) for images in (samples, real))
    return SampleQuality(
        samples=len(samples),
        distance=float(distance.median()),
        real_distance=float(real_distance.median()),
        nearest=float(distance.min()),
        verdict=None if judge is None else _judge(samples, real, data, judge),
    )


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


def _judge(samples: Tensor, real: Tensor, data: ImageData, judge: Judge) -> Verdict:
    total = len(data.train_images)
    references = data.train_images[_choose(min(_REFERENCES, total), total)]
    train_features, _ = judge.judge_pixels(torch.tensor(references, device=samples.device))
    features, probabilities = judge.judge(samples)
    real_features, real_probabilities = judge.judge(real)
    train = train_features.double().numpy()
    seen = np.bincount(probabilities.argmax(1).numpy(), minlength=len(judge.classes)) / len(samples)
    return Verdict(
        accuracy=judge.accuracy,
        confidence=float(probabilities.amax(1).mean()),
        real_confidence=float(real_probabilities.amax(1).mean()),
        histogram=dict(zip(judge.classes, seen.tolist(), strict=True)),
        real_histogram=dict(zip(judge.classes, judge.shares, strict=True)),
        fid=frechet_distance(features.double().numpy(), train),
        real_fid=frechet_distance(real_features.double().numpy(), train),
    )


def _choose(count: int, total: int) -> npt.NDArray[np.int64]:
    """`count` of `total` numbers, always the same. Random, since every sixth image of MNIST's training set is not like
    the others: its two groups of writers alternate, and FID of real images rises from 4 to 10."""
    return np.sort(np.random.default_rng(0).permutation(total)[:count])


def _in_chunks(images: npt.NDArray[np.uint8], device: torch.device) -> Iterator[Tensor]:
    for start in range(0, len(images), _TRAIN_CHUNK):
        yield to_float(torch.tensor(images[start : start + _TRAIN_CHUNK], device=device))
