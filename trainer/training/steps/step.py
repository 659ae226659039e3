"""What every kind of training step does, and what computes the gradient for one."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Step(Protocol):
    """What every kind of step does; the kinds differ in speed, not in the result."""

    totals: Tensor
    """float64 (3,) on the device: sums over images of loss, reconstruction and KL, in nats; zeroed by the caller."""

    at_once: int
    """Batches that one call takes at most."""

    library: str | None
    """Which library multiplies matrices, see `Products`: a resumed run keeps it. None where torch decides."""

    def __call__(self, pixels: Tensor, noise: Tensor, kl_weights: Sequence[float]) -> None:
        """Train on one batch of B images after the other, one for each weight of the KL term.

        pixels: uint8 (batches · B, H, W, C); noise: standard normal (batches · B, draws, latent_dim).
        """


class Gradient(Protocol):
    """The gradient of the loss on a batch, in two phases: by parts of the batch, then by shares of the weights.

    Parts, and shares, may be computed in any order and side by side; the second phase begins when the first is done.
    """

    @property
    def shares(self) -> Sequence[Sequence[slice]]:
        """The ranges of the flat weights in each share. There are as many shares as parts."""

    def of_images(self, i: int, pixels: Tensor, noise: Tensor, kl_weight: float) -> Tensor:
        """Phase 1 for part i of the batch: the sums over its images of loss, reconstruction and KL, in nats: (3,).

        pixels: uint8 (B, H, W, C), noise: standard normal (B, draws, latent_dim), of the whole batch. A part may have
        no images.
        """

    def of_weights(self, i: int) -> tuple[Sequence[Tensor], Tensor]:
        """Phase 2 for share i: the gradient of the batch w.r.t. each of its ranges, and the vector that these make up.

        The former are views of the latter. They may be overwritten, and are valid until the next step.
        """


def part(i: int, parts: int, whole: int) -> slice:
    """Part i of `whole` things that are divided evenly; where there are fewer things than parts, some have none."""
    return slice(whole * i // parts, whole * (i + 1) // parts)
