"""What every kind of training step does."""

from typing import Protocol

from torch import Tensor


class Step(Protocol):
    """What every kind of step does; the kinds differ in speed, not in the result."""

    totals: Tensor
    """float64 (3,) on the device: sums over images of loss, reconstruction and KL, in nats; zeroed by the caller."""

    def __call__(self, pixels: Tensor, noise: Tensor, kl_weight: float) -> None:
        """Train on `pixels`, uint8 (B, H, W, C), with `noise`, standard normal (B, draws, latent_dim)."""
