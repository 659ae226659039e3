"""One training step: a batch of pixels in, weights changed. This one works for every model and objective."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from trainer.bounds import Objective
from trainer.model import VAE
from trainer.objectives import to_float


class Step(Protocol):
    """What every kind of step does; the kinds differ in speed, not in the result."""

    totals: Tensor
    """float64 (3,) on the device: sums over images of loss, reconstruction and KL, in nats; zeroed by the caller."""

    def __call__(self, pixels: Tensor, noise: Tensor, kl_weight: float) -> None:
        """Train on `pixels`, uint8 (B, H, W, C), with `noise`, standard normal (B, draws, latent_dim)."""


class AutogradStep:
    """Loss, backward, clip, Adam."""

    def __init__(
        self,
        model: VAE,
        weights: nn.Parameter,
        optimizer: torch.optim.Optimizer,
        objective: Objective,
        clip_norm: float | None,
        precision: str,
    ) -> None:
        self.model, self.weights, self.optimizer = model, weights, optimizer
        self.objective, self.clip_norm = objective, clip_norm
        self.use_bf16 = precision == "bf16"
        self.totals = torch.zeros(3, dtype=torch.float64, device=weights.device)

    def __call__(self, pixels: Tensor, noise: Tensor, kl_weight: float | Tensor) -> None:
        """See `Step`."""
        image = to_float(pixels)  # (B, C, H, W)
        with torch.autocast(pixels.device.type, dtype=torch.bfloat16, enabled=self.use_bf16):
            terms = self.objective.terms(self.model, image, noise, kl_weight)
        self.optimizer.zero_grad(set_to_none=False)
        terms.loss.backward()
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.weights, self.clip_norm)
        self.optimizer.step()
        self.totals += torch.stack([terms.loss.detach(), terms.reconstruction.detach().sum(), terms.kl.detach().sum()])
