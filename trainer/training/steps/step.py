"""What every kind of training step does, and what computes the gradient for one."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Step(Protocol):
    """What every kind of step does; the kinds differ in speed, not in the result."""

    totals: Tensor
    """float64 (3,) on the device: sums over images of loss, reconstruction and KL, in nats; zeroed by the caller."""

    def __call__(self, pixels: Tensor, noise: Tensor, kl_weight: float) -> None:
        """Train on `pixels`, uint8 (B, H, W, C), with `noise`, standard normal (B, draws, latent_dim)."""


class PartGradient(Protocol):
    """The gradient of the loss on a part of a batch."""

    @property
    def pieces(self) -> Sequence[Tensor]:
        """After a call: contiguous tensors that one after the other make up the gradient of the flat weights."""

    def __call__(self, pixels: Tensor, noise: Tensor, kl_weight: float) -> Tensor:
        """Compute `pieces`, and return the sums over images of loss, reconstruction and KL, in nats: (3,).

        pixels: uint8 (B, H, W, C), noise: standard normal (B, draws, latent_dim). B may be 0.
        """
