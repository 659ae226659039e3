"""One training step: a batch of pixels in, weights changed. This one works for every model and objective."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainer.data.pixels import to_float
from trainer.model.vae import VAE
from trainer.objective.bound import BoundTerms, Objective
from trainer.settings import Settings
from trainer.training.steps.flat import clip_norm_
from trainer.training.team import ALONE, Team


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
        self.terms = team.connect(_BoundModule(model, Objective.of(settings), team))
        self.by_loss = torch.full_like(weights[0], team.world_size)  # the loss is a sum, and a team averages gradients
        self.clip_norm = settings.clip_norm
        self.use_bf16 = settings.precision == "bf16"
        self.totals = torch.zeros(3, dtype=torch.float64, device=weights.device)

    def __call__(self, pixels: Tensor, noise: Tensor, kl_weight: float | Tensor) -> None:
        """See `Step`."""
        image = to_float(pixels).to(self.weights.dtype)  # (B, C, H, W)
        with torch.autocast(pixels.device.type, dtype=torch.bfloat16, enabled=self.use_bf16, cache_enabled=False):
            terms: BoundTerms = self.terms(image, noise, kl_weight)
        self.optimizer.zero_grad(set_to_none=False)
        terms.loss.backward(self.by_loss)
        if self.clip_norm is not None:
            clip_norm_(self.gradient, self.clip_norm)
        self.optimizer.step()
        self.totals += torch.stack([terms.loss.detach(), terms.reconstruction.detach().sum(), terms.kl.detach().sum()])


class _BoundModule(nn.Module):
    """The terms of the objective as a module: what DistributedDataParallel can wrap."""

    def __init__(self, model: VAE, objective: Objective, team: Team) -> None:
        super().__init__()
        self.model, self.objective, self.team = model, objective, team

    def forward(self, image: Tensor, noise: Tensor, kl_weight: float | Tensor) -> BoundTerms:
        return self.objective.terms(self.model, image, noise, kl_weight, self.team.total)
