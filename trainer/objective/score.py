"""Scores a model on held-out images with its training objective."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.data.pixels import to_float
from trainer.model.vae import VAE
from trainer.objective.active import count_active_by_variance
from trainer.objective.bound import BoundTerms, Objective
from trainer.seeds import generator

_BATCH = 2000  # images at once (divided by the number of draws): large kernels, about 50 MB for small gray images


@dataclass(frozen=True)
class Score:
    """Means over images, in nats per image."""

    reconstruction: float
    kl: float
    loss: float
    """The training objective with the full weight of the KL term; for the ELBO, reconstruction + β · kl."""
    kl_per_dimension: tuple[float, ...]
    """Sums to `kl`."""
    mean_variance: tuple[float, ...]
    """Variance over images of the posterior mean of each latent dimension."""

    @property
    def active_units(self) -> int:
        """Latent dimensions whose posterior mean has a variance over images above `ACTIVE_VARIANCE`."""
        return count_active_by_variance(self.mean_variance)


@torch.no_grad()
def evaluate(model: VAE, images: Tensor, *, objective: Objective, seed: int) -> Score:
    """Score `model` with the training objective on `images`, uint8 (N, H, W, C) on the model's device.

    The noise depends only on `seed`: all epochs, and all models with the same number of latents, get the same noise.
    """
    device, latent_dim = images.device, model.config.latent_dim
    sums = {
        "reconstruction": torch.zeros((), dtype=torch.float64, device=device),
        "loss": torch.zeros((), dtype=torch.float64, device=device),
        "kl": torch.zeros(latent_dim, dtype=torch.float64, device=device),
    }
    means = torch.empty(len(images), latent_dim, device=device)
    for part, terms in score_batches(model, images, objective=objective, seed=seed):
        sums["reconstruction"] += terms.reconstruction.sum()
        sums["loss"] += terms.loss
        sums["kl"] += terms.kl.sum(0)
        means[part] = terms.mean
    reconstruction, loss, kl = (total / len(images) for total in sums.values())
    if objective.bound == "elbo":  # free bits apply to the mean over all images, not over a batch
        loss = objective.elbo_loss(reconstruction, kl)
    return Score(
        reconstruction.item(),
        kl.sum().item(),
        loss.item(),
        tuple(kl.tolist()),
        tuple(means.var(0, correction=0).tolist()),
    )


@torch.no_grad()
def score_batches(model: VAE, images: Tensor, *, objective: Objective, seed: int) -> Iterator[tuple[slice, BoundTerms]]:
    """The terms of the objective for each batch, with the batch's slice of `images`; arguments as for `evaluate`."""
    draw = generator(seed, "evaluation", device=images.device)
    batch = max(1, _BATCH // objective.draws)
    for start in range(0, len(images), batch):
        part = slice(start, start + batch)
        image = to_float(images[part])
        noise = torch.randn(len(image), objective.draws, model.config.latent_dim, device=images.device, generator=draw)
        yield part, objective.terms(model, image, noise)
