"""One training step: a batch of pixels in, weights changed. This one works for every model and objective."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from trainer.bounds import Objective, Terms
from trainer.distributed import ALONE, Team
from trainer.flat import clip_norm_
from trainer.model import VAE
from trainer.objectives import to_float
from trainer.settings import Settings


class Step(Protocol):
    """What every kind of step does; the kinds differ in speed, not in the result."""

    totals: Tensor
    """float64 (3,) on the device: sums over images of loss, reconstruction and KL, in nats; zeroed by the caller."""

    def __call__(self, pixels: Tensor, noise: Tensor, kl_weight: float) -> None:
        """Train on `pixels`, uint8 (B, H, W, C), with `noise`, standard normal (B, draws, latent_dim)."""


class AutogradStep:
    """Loss, backward, clip, Adam; in a team, on a part of each batch and with the gradient of the whole."""

    def __init__(
        self,
        model: VAE,
        weights: nn.Parameter,
        optimizer: torch.optim.Optimizer,
        settings: Settings,
        team: Team = ALONE,
    ) -> None:
        assert weights.grad is not None
        self.model, self.weights, self.gradient, self.optimizer = model, weights, weights.grad, optimizer
        self.terms = team.connect(_Terms(model, Objective.of(settings), team))
        self.by_loss = torch.full_like(weights[0], team.size)  # the loss is a sum, and a team averages gradients
        self.clip_norm = settings.clip_norm
        self.use_bf16 = settings.precision == "bf16"
        self.totals = torch.zeros(3, dtype=torch.float64, device=weights.device)

    def __call__(self, pixels: Tensor, noise: Tensor, kl_weight: float | Tensor) -> None:
        """See `Step`."""
        image = to_float(pixels).to(self.weights.dtype)  # (B, C, H, W)
        with torch.autocast(pixels.device.type, dtype=torch.bfloat16, enabled=self.use_bf16, cache_enabled=False):
            terms: Terms = self.terms(image, noise, kl_weight)
        self.optimizer.zero_grad(set_to_none=False)
        terms.loss.backward(self.by_loss)
        if self.clip_norm is not None:
            clip_norm_(self.gradient, self.clip_norm)
        self.optimizer.step()
        self.totals += torch.stack([terms.loss.detach(), terms.reconstruction.detach().sum(), terms.kl.detach().sum()])


class _Terms(nn.Module):
    """The terms of the objective as a module: what DistributedDataParallel can wrap."""

    def __init__(self, model: VAE, objective: Objective, team: Team) -> None:
        super().__init__()
        self.model, self.objective, self.team = model, objective, team

    def forward(self, image: Tensor, noise: Tensor, kl_weight: float | Tensor) -> Terms:
        return self.objective.terms(self.model, image, noise, kl_weight, self.team.total)
