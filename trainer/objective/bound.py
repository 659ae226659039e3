"""Bounds on log p(x) (ELBO, IWAE, DReG) with their settings: the loss of training, validation and model selection."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.model.vae import VAE
from trainer.objective.likelihood import kl_per_dimension, kl_to_standard_normal, nll_of
from trainer.settings import Settings


def log_weights(
    nll: Tensor, z: Tensor, standardized: Tensor, log_var: Tensor, *, kl_weight: float | Tensor = 1.0
) -> Tensor:
    """Log importance weights log p(x|z) + kl_weight · (log p(z) − log q(z|x)) of k draws for each of N images: (N, k).

    nll: −log p(x|z), (N, k). z: the draws, (N, k, latent_dim). standardized: (z − mean) / std of the posterior, that is
    the noise from which z was made, (N, k, latent_dim). log_var: of the posterior, (N, latent_dim). The sum over
    latents has the dtype of `nll`: pass float64 for many draws. Burda et al. 2016, equation 8.
    """
    # The constants ½ log 2π of the two normal densities cancel.
    log_ratio = 0.5 * (standardized.square() + log_var.unsqueeze(1) - z.square()).sum(2, dtype=nll.dtype)
    return kl_weight * log_ratio - nll


def importance_bound(log_weights: Tensor) -> Tensor:
    """The IWAE bound log (1/k) Σ w on log p(x) from log-weights (..., k): (...). Burda et al. 2016, equation 8."""
    return torch.logsumexp(log_weights, dim=-1) - math.log(log_weights.shape[-1])


def negative_elbo(
    logits: Tensor,
    image: Tensor,
    mean: Tensor,
    log_var: Tensor,
    likelihood: str,
    log_variance: Tensor | None = None,
) -> Tensor:
    """−ELBO in nats of N images with one draw of z each: (N,), in the dtype of the arguments (float32 or float64).

    logits: the decoder's output for z, (N, C, H, W). image: in [0, 1], of the same shape. mean, log_var: of the
    posterior, (N, latent_dim). likelihood, log_variance: see `nll_of`. Kingma & Welling 2014, equation 3.
    """
    return nll_of(likelihood, logits, image, log_variance) + kl_to_standard_normal(mean, log_var)


@dataclass(frozen=True)
class BoundTerms:
    """The terms of an objective for a batch of N images with k draws of z each, in nats."""

    reconstruction: Tensor
    """(N,): −log p(x|z), the mean over draws."""
    mean: Tensor
    """(N, latent_dim): the mean of q(z|x)."""
    kl: Tensor
    """(N, latent_dim): KL(q(z|x) || p(z)) in closed form."""
    log_weights: Tensor | None
    """(N, k): log p(x|z) + kl_weight · (log p(z) − log q(z|x)); None for the ELBO, which does not use them."""
    loss: Tensor
    """(): the loss, summed over images; training follows its gradient."""


@dataclass(frozen=True)
class Objective:
    """A bound with its settings; `Settings` describes and checks the fields."""

    bound: str
    likelihood: str
    draws: int
    beta: float
    free_bits: float

    @classmethod
    def of(cls, settings: Settings) -> Objective:
        """The objective that a run trains on."""
        return cls(settings.bound, settings.likelihood, settings.draws, settings.beta, settings.free_bits)

    def terms(
        self,
        model: VAE,
        image: Tensor,
        noise: Tensor,
        kl_weight: float | Tensor | None = None,
        total: Callable[[Tensor], Tensor] = lambda own: own,
    ) -> BoundTerms:
        """All terms for `image`, (N, C, H, W) in [0, 1], with `noise`, standard normal (N, draws, latent_dim).

        kl_weight: used instead of β during KL warm-up; None means β. total: sums a tensor over the ranks that share a
        batch, if `image` is one rank's part of it; N may then be 0.
        """
        weight = self.beta if kl_weight is None else kl_weight
        mean, log_var = (head.to(image.dtype) for head in model.encode(image))  # (N, L) each, also under autocast
        # (N, k, L) → (N·k, L): the draws of one image lie next to each other.
        z = model.reparameterize(mean.unsqueeze(1), log_var.unsqueeze(1), noise).flatten(0, 1)
        kl = kl_per_dimension(mean, log_var)
        if self.bound == "elbo":
            nll = self._nll(model, z, image)
            reconstruction = nll.mean(1)
            loss = self.elbo_loss(reconstruction.sum(), kl.sum(0), weight, images=len(image), total=total)
            return BoundTerms(reconstruction, mean, kl, None, loss)
        if self.bound == "dreg":
            # log q must reach the encoder through z alone (Tucker et al. 2019, equation 6).
            mean, log_var = mean.detach(), log_var.detach()
        nll = self._nll(model, z, image)
        draws = z.view_as(noise)
        # Computed from z, not taken from `noise`: its gradient w.r.t. mean and log_var is part of the IWAE gradient.
        standardized = (draws - mean.unsqueeze(1)) * torch.exp(-0.5 * log_var).unsqueeze(1)
        weights = log_weights(nll, draws, standardized, log_var, kl_weight=weight)
        return BoundTerms(nll.mean(1), mean, kl, weights, self._importance_loss(weights, z))

    def elbo_loss(
        self,
        reconstruction: Tensor,
        kl: Tensor,
        kl_weight: float | Tensor | None = None,
        *,
        images: int = 1,
        total: Callable[[Tensor], Tensor] = lambda own: own,
    ) -> Tensor:
        """ELBO loss, (), from reconstruction () and KL per dimension (latent_dim,), both summed over `images` images.

        Pass means over images with images = 1 to get the mean loss. With free bits, each dimension costs at least
        `free_bits` nats per image, so using it up to that amount is free (Kingma et al. 2016, section 2.6 and appendix
        C.8); the minimum applies to the mean over the batch. total: see `terms`.
        """
        if self.free_bits:
            least = torch.full_like(kl, images * self.free_bits)
            kl = torch.where(total(kl.detach() - least) > 0, kl, least)
        return reconstruction + (self.beta if kl_weight is None else kl_weight) * kl.sum()

    def _nll(self, model: VAE, z: Tensor, image: Tensor) -> Tensor:
        """−log p(x|z) of each draw: (N, k)."""
        repeated = image if self.draws == 1 else image.repeat_interleave(self.draws, dim=0)
        logits = model.decode_logits(z).to(image.dtype)
        return nll_of(self.likelihood, logits, repeated, model.log_variance).view(len(image), self.draws)

    def _importance_loss(self, weights: Tensor, z: Tensor) -> Tensor:
        """The IWAE loss, summed over images, from log-weights (N, k); for DReG with the gradient of that estimator."""
        loss = -importance_bound(weights).sum()
        if self.bound == "iwae" or not weights.requires_grad:
            return loss
        # DReG: the decoder's gradient weights each draw by its normalised importance weight, as in IWAE; the encoder's
        # gradient, which passes through z, by the square of that weight.
        share = torch.softmax(weights.detach(), dim=1)
        z.register_hook(lambda gradient: gradient * share.view(-1, 1))
        surrogate = -(share * weights).sum()
        return loss.detach() + (surrogate - surrogate.detach())
