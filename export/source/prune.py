"""Pruning of inactive latents: those whose posterior mean hardly depends on the image."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from export.errors import ExportError
from export.source.source import Source
from runtime.images.pixels import to_float
from trainer.evaluation.nll import importance_nll
from trainer.model.vae import VAE
from trainer.objective.active import ACTIVE_VARIANCE

_IMPORTANCE_SAMPLES = 100  # per image


@dataclass(frozen=True)
class PrunedSource:
    """A model without its inactive latents, and the change in its likelihood."""

    source: Source
    kept: tuple[int, ...]
    """Indices of the active latents in the original model."""
    latents: int
    """Number of latents of the original model."""
    nll_change_nats: float
    """Pruned minus original: importance-weighted bound on −log p(x), 100 samples, mean over the reference images."""

    def summary(self) -> str:
        """One line for the screen."""
        return (
            f"{len(self.kept)} of {self.latents} latents are active and kept, "
            f"NLL ({self.source.likelihood}) {self.nll_change_nats:+.3f} nats per image"
        )


def prune_latents(source: Source) -> PrunedSource:
    """Remove the inactive latents of `source`; their mean becomes part of the bias of the decoder's first layer.

    A seed and index give another image than before, because the remaining latents are renumbered. Raises ExportError
    where the decoder does not start with a linear layer, or no latent is active.
    """
    model = source.model
    if not isinstance(model, VAE):
        raise ExportError("latents can be pruned in models of this project only, not in modules of others")
    assert source.likelihood is not None
    image = torch.from_numpy(to_float(source.reference_images))
    with torch.no_grad():
        mean, _ = model.encode(image)
    kept = (mean.var(0, correction=0) > ACTIVE_VARIANCE).nonzero().flatten()
    if not len(kept):
        raise ExportError(f"no latent varies by more than {ACTIVE_VARIANCE:g} over the test images; nothing to keep")
    if len(kept) == model.config.latent_dim:
        return PrunedSource(source, tuple(kept.tolist()), model.config.latent_dim, 0.0)
    smaller = _without_inactive(model, kept, mean.mean(0))
    # Stored in the metadata of every graph file; another wording would change the bytes of exports.
    summary = f"{len(kept)} of {model.config.latent_dim} latents kept, the others are dead"
    provenance = {**source.provenance, "architecture": smaller.architecture, "pruned": summary}
    return PrunedSource(
        replace(source, model=smaller, provenance=provenance, prior=source.prior and source.prior.only(kept.numpy())),
        tuple(kept.tolist()),
        model.config.latent_dim,
        _nll(smaller, image, source.likelihood) - _nll(model, image, source.likelihood),
    )


@torch.no_grad()
def _without_inactive(model: VAE, kept: Tensor, average: Tensor) -> VAE:
    """kept: indices of the active latents. average: float32 (L,), mean over images of each posterior mean."""
    smaller = copy.deepcopy(model)
    smaller.config = replace(model.config, latent_dim=len(kept))
    first = model.decoder[0]
    if not isinstance(first, nn.Linear):
        raise ExportError(f"latents can be pruned where the decoder starts with a Linear, not with {first}")
    inactive = torch.ones(model.config.latent_dim, dtype=torch.bool)
    inactive[kept] = False
    smaller.decoder[0] = _linear(first.weight[:, kept], first.bias + first.weight[:, inactive] @ average[inactive])
    smaller.mean = _linear(model.mean.weight[kept], model.mean.bias[kept])
    smaller.log_var = _linear(model.log_var.weight[kept], model.log_var.bias[kept])
    return smaller.eval()


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)
    return layer


def _nll(model: VAE, image: Tensor, likelihood: str) -> float:
    """Importance-weighted bound on −log p(x) in nats, mean over images."""
    return importance_nll(model, image, k=_IMPORTANCE_SAMPLES, likelihood=likelihood).nll
