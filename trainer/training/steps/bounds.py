"""Each bound on log p(x) with its gradient w.r.t. the heads of the encoder, derived by hand.

The values are those of `trainer.objective.bound` to rounding, and the gradients those that autograd finds there. The
decoder's gradient is that of −log p(x|z), times the weight that the bound gives to the draw.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from trainer.objective.bound import importance_bound, log_weights


class Draws(NamedTuple):
    """k draws of z for each of N images."""

    mean: Tensor
    """Of the posterior, (N, L)."""
    log_var: Tensor
    """(N, L)."""
    std: Tensor
    """(N, L)."""
    noise: Tensor
    """(N, k, L)."""
    scaled_noise: Tensor
    """std · noise: (N, k, L)."""
    z: Tensor
    """(N, k, L)."""
    kl: Tensor
    """Of the posterior from the prior, summed over images: ()."""


class Bound(Protocol):
    """A loss, summed over images, in two steps: before and after the decoder's gradient is known."""

    def loss(self, draws: Draws, nll: Tensor, kl_weight: Tensor) -> tuple[Tensor, Tensor | None]:
        """The loss in nats, (), and the weight of each draw's nll in its gradient, (N, k); None: 1.

        nll: −log p(x|z), (N, k). kl_weight: ().
        """

    def of_heads(self, draws: Draws, share: Tensor | None, grad_z: Tensor, kl_weight: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients w.r.t. mean and log-variance, (N, L) each.

        share: as from `loss`. grad_z: that of the weighted nll w.r.t. z, through the decoder, (N, k, L).
        """


class Elbo:
    """Mean nll of the draws, and the KL term in closed form: Kingma & Welling 2014, equation 10."""

    def loss(self, draws: Draws, nll: Tensor, kl_weight: Tensor) -> tuple[Tensor, Tensor | None]:
        """See `Bound`."""
        count = nll.shape[1]
        loss = nll.sum() + kl_weight * draws.kl if count == 1 else nll.sum() / count + kl_weight * draws.kl
        return loss, None if count == 1 else torch.full_like(nll, 1 / count)

    def of_heads(self, draws: Draws, share: Tensor | None, grad_z: Tensor, kl_weight: Tensor) -> tuple[Tensor, Tensor]:
        """See `Bound`."""
        grad_mean = torch.addcmul(grad_z.sum(1), draws.mean, kl_weight)
        through_z = (grad_z * draws.scaled_noise).sum(1)
        return grad_mean, 0.5 * torch.addcmul(through_z, draws.std.square() - 1, kl_weight)


class Iwae:
    """−log (1/k) Σ w of the importance weights w: Burda et al. 2016, equations 8 and 13."""

    def loss(self, draws: Draws, nll: Tensor, kl_weight: Tensor) -> tuple[Tensor, Tensor | None]:
        """See `Bound`."""
        weights = log_weights(nll, draws.z, draws.noise, draws.log_var, kl_weight=kl_weight)
        return -importance_bound(weights).sum(), weights.softmax(1)

    def of_heads(self, draws: Draws, share: Tensor | None, grad_z: Tensor, kl_weight: Tensor) -> tuple[Tensor, Tensor]:
        """See `Bound`. log q(z|x) depends on the log-variance alone, as the noise is given."""
        assert share is not None
        whole = torch.addcmul(grad_z, draws.z, kl_weight * share.unsqueeze(2))
        return whole.sum(1), 0.5 * ((whole * draws.scaled_noise).sum(1) - kl_weight)


class Dreg(Iwae):
    """The same loss with the doubly reparameterised gradient: Tucker et al. 2019, equation 6."""

    def of_heads(self, draws: Draws, share: Tensor | None, grad_z: Tensor, kl_weight: Tensor) -> tuple[Tensor, Tensor]:
        """See `Bound`. Through z alone, and with the squares of the weights."""
        assert share is not None
        weight = share.unsqueeze(2)
        score = draws.z - draws.noise / draws.std.unsqueeze(1)
        whole = torch.addcmul(grad_z, score, kl_weight * weight) * weight
        return whole.sum(1), 0.5 * (whole * draws.scaled_noise).sum(1)


BOUNDS: dict[str, Bound] = {"elbo": Elbo(), "iwae": Iwae(), "dreg": Dreg()}
"""By the name of the setting."""
