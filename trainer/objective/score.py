"""Scoring a model on held-out images with the objective that it is trained on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.data.pixels import to_float
from trainer.model.vae import VAE
from trainer.objective.bound import Objective
from trainer.seeds import generator

_BATCH = 2000  # images at once, fewer with several draws: large kernels, and some 50 MB for small gray images
_ACTIVE_VARIANCE = 0.01  # Burda et al. 2016, section 5.2


@dataclass(frozen=True)
class Score:
    """Means over images, in nats per image."""

    reconstruction: float
    kl: float
    loss: float
    """The training objective, with the full weight of the KL term; for the elbo reconstruction + β · kl."""
    kl_per_dimension: tuple[float, ...]
    """Sums to `kl`."""
    mean_variance: tuple[float, ...]
    """Variance over images of the posterior mean of each latent dimension."""

    @property
    def active_units(self) -> int:
        """Latent dimensions whose posterior mean varies with the image: by more than 0.01 (Burda et al. 2016)."""
        return sum(variance > _ACTIVE_VARIANCE for variance in self.mean_variance)


@torch.no_grad()
def evaluate(model: VAE, images: Tensor, *, objective: Objective, seed: int) -> Score:
    """The training objective on `images`, uint8 (N, H, W, C) on the model's device.

    The draws of z depend on `seed` alone, so that two epochs, or two models of one latent size, meet the same noise.
    """
    device, latent_dim = images.device, model.config.latent_dim
    draw = generator(seed, "evaluation", device=device)
    sums = {
        "reconstruction": torch.zeros((), dtype=torch.float64, device=device),
        "loss": torch.zeros((), dtype=torch.float64, device=device),
        "kl": torch.zeros(latent_dim, dtype=torch.float64, device=device),
    }
    means = torch.empty(len(images), latent_dim, device=device)
    batch = max(1, _BATCH // objective.draws)
    for start in range(0, len(images), batch):
        image = to_float(images[start : start + batch])
        noise = torch.randn(len(image), objective.draws, latent_dim, device=device, generator=draw)
        terms = objective.terms(model, image, noise)
        sums["reconstruction"] += terms.reconstruction.sum()
        sums["loss"] += terms.loss
        sums["kl"] += terms.kl.sum(0)
        means[start : start + batch] = terms.mean
    reconstruction, loss, kl = (total / len(images) for total in sums.values())
    if objective.bound == "elbo":  # free bits are charged on the mean over all images, not over a batch
        loss = objective.negative_elbo(reconstruction, kl)
    return Score(
        reconstruction.item(),
        kl.sum().item(),
        loss.item(),
        tuple(kl.tolist()),
        tuple(means.var(0, correction=0).tolist()),
    )
