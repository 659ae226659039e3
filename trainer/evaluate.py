"""Scoring a model on held-out images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.model import VAE
from trainer.objectives import bernoulli_nll, kl_to_standard_normal, to_float
from trainer.seeds import generator

_BATCH = 2000  # images at once: large kernels, and at most some 50 MB for small gray images


@dataclass(frozen=True)
class Score:
    """Means over images, in nats per image."""

    reconstruction: float
    kl: float
    loss: float
    """reconstruction + β · kl: what training minimises."""


@torch.no_grad()
def evaluate(model: VAE, images: Tensor, *, beta: float, seed: int) -> Score:
    """The training objective on `images`, uint8 (N, H, W, C) on the model's device, with one draw of z an image.

    The draws depend on `seed` alone, so that two epochs, or two models of one latent size, meet the same noise.
    """
    noise = torch.randn(
        len(images),
        model.config.latent_dim,
        device=images.device,
        generator=generator(seed, "evaluation", device=images.device),
    )
    totals = torch.zeros(2, dtype=torch.float64, device=images.device)
    for start in range(0, len(images), _BATCH):
        image = to_float(images[start : start + _BATCH])
        mean, log_var = model.encode(image)
        logits = model.decode_logits(model.reparameterize(mean, log_var, noise[start : start + _BATCH]))
        totals += torch.stack([bernoulli_nll(logits, image).sum(), kl_to_standard_normal(mean, log_var).sum()])
    reconstruction, kl = (totals / len(images)).tolist()
    return Score(reconstruction, kl, reconstruction + beta * kl)
