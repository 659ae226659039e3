"""Dropping dead latents: those whose posterior mean says nothing about the image, so that the decoder ignores them."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from export.errors import ExportError
from export.source.source import Source
from runtime.images.pixels import to_float
from runtime.noise import POSTERIOR_STREAM, standard_normal
from trainer.model.vae import VAE
from trainer.objective.likelihood import NLL

ACTIVE_VARIANCE = 0.01
"""A latent is alive where its posterior mean varies more than this over images (Burda et al. 2016)."""
_IMPORTANCE_SAMPLES = 100  # for each image


@dataclass(frozen=True)
class Pruned:
    """A smaller model, and what it lost."""

    source: Source
    kept: tuple[int, ...]
    """Latents that are alive, by their number in the old model."""
    latents: int
    """Of the old model."""
    nll_change_nats: float
    """Of the reference images, per image: importance-weighted bound with 100 samples, new minus old."""

    def summary(self) -> str:
        """One sentence for the screen and the card."""
        return (
            f"{len(self.kept)} of {self.latents} latents are alive and kept, "
            f"NLL ({self.source.likelihood}) {self.nll_change_nats:+.3f} nats per image"
        )


def prune_latents(source: Source) -> Pruned:
    """`source` without its dead latents; the decoder's first layer gets their mean as part of its bias.

    Sample I of a seed is another picture than before, since the remaining latents move up. Raises ExportError where the
    decoder does not start with a linear layer, or no latent is alive.
    """
    model = source.model
    image = torch.from_numpy(to_float(source.reference_images))
    with torch.no_grad():
        mean, _ = model.encode(image)
    kept = (mean.var(0) > ACTIVE_VARIANCE).nonzero().flatten()
    if not len(kept):
        raise ExportError(f"no latent varies by more than {ACTIVE_VARIANCE:g} over the test images; nothing to keep")
    if len(kept) == model.config.latent_dim:
        return Pruned(source, tuple(kept.tolist()), model.config.latent_dim, 0.0)
    smaller = _without_dead(model, kept, mean.mean(0))
    summary = f"{len(kept)} of {model.config.latent_dim} latents kept, the others are dead"
    provenance = {**source.provenance, "architecture": smaller.architecture, "pruned": summary}
    return Pruned(
        replace(source, model=smaller, provenance=provenance),
        tuple(kept.tolist()),
        model.config.latent_dim,
        _nll(smaller, image, source.likelihood) - _nll(model, image, source.likelihood),
    )


@torch.no_grad()
def _without_dead(model: VAE, kept: Tensor, usual: Tensor) -> VAE:
    """usual: the mean of each latent over images, (L,); what a dead one always says."""
    smaller = copy.deepcopy(model)
    smaller.config = replace(model.config, latent_dim=len(kept))
    first = model.decoder[0]
    if not isinstance(first, nn.Linear):
        raise ExportError(f"latents can be pruned where the decoder starts with a Linear, not with {first}")
    dead = torch.ones(model.config.latent_dim, dtype=torch.bool)
    dead[kept] = False
    smaller.decoder[0] = _linear(first.weight[:, kept], first.bias + first.weight[:, dead] @ usual[dead])
    smaller.mean = _linear(model.mean.weight[kept], model.mean.bias[kept])
    smaller.log_var = _linear(model.log_var.weight[kept], model.log_var.bias[kept])
    return smaller.eval()


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)
    return layer


@torch.no_grad()
def _nll(model: VAE, image: Tensor, likelihood: str) -> float:
    """Importance-weighted bound on −log p(image), mean over images, in nats (Burda et al. 2016)."""
    mean, log_var = model.encode(image)
    log_weights = []
    for draw in range(_IMPORTANCE_SAMPLES):
        index = np.arange(len(image)) + draw * len(image)
        noise = torch.from_numpy(standard_normal(0, index, model.config.latent_dim, stream=POSTERIOR_STREAM))
        z = model.reparameterize(mean, log_var, noise)
        log_prior_to_posterior = 0.5 * (noise.square() + log_var - z.square()).sum(1)
        log_weights.append(log_prior_to_posterior - NLL[likelihood](model.decode_logits(z), image))
    bound = torch.logsumexp(torch.stack(log_weights).double(), 0) - np.log(_IMPORTANCE_SAMPLES)
    return float(-bound.mean())
