"""The reconstruction term with its gradient w.r.t. the logits, for each likelihood, from one sigmoid.

Each function takes the logits of k draws for each of N images, float32 (N, k, pixels), which it overwrites, and the
images, in [0, 1], (N, pixels). It returns −log p(x|z) in nats, (N, k), and its gradient w.r.t. the logits. The values
are those of `trainer.objective.likelihood` to rounding, and the gradients those that autograd finds there.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from trainer.objective.likelihood import FACTORS, SMALL_LOGIT, log_normalizer, sum_log


def bernoulli(logits: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    """Σ max(l, 0) − x l − log σ(|l|) over pixels, in nats, and its gradient σ(l) − x."""
    probability = logits.sigmoid()
    x_times_logit = torch.linalg.vecdot(logits, image.unsqueeze(1))
    positive = logits.clamp_min_(0).sum(2)
    # σ(|l|) is the larger of σ(l) and 1 − σ(l), without a second exponential; one logarithm serves a product of eight.
    log_sigmoid = sum_log(torch.sub(probability, 0.5, out=logits).abs_().add_(0.5), FACTORS)
    return positive.sub_(x_times_logit).sub_(log_sigmoid), probability.sub_(image.unsqueeze(1))


def gaussian(logits: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    """Σ (σ(l) − x)², and its gradient 2 (σ(l) − x) σ(l) (1 − σ(l))."""
    probability = torch.sigmoid(logits, out=logits)
    error = probability - image.unsqueeze(1)
    value = torch.linalg.vecdot(error, error)
    slope = torch.addcmul(probability, probability, probability, value=-1)  # σ'(l)
    return value, error.mul_(slope).mul_(2)


def continuous_bernoulli(logits: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    """The Bernoulli term less Σ log C(l), and its gradient.

    C(l) = l / tanh(l / 2), so that (log C)'(l) = 1 / l − 1 / sinh(l): Loaiza-Ganem & Cunningham 2019, equation 6.
    """
    log_c = log_normalizer(logits)
    is_small = logits.abs() < SMALL_LOGIT
    large = torch.where(is_small, 1.0, logits)  # sinh overflows to ∞ at 89, where 1 / ∞ = 0 is right
    series = logits * (1 / 6 - logits.square() * (7 / 360))
    slope = torch.where(is_small, series, 1 / large - 1 / torch.sinh(large))
    value, gradient = bernoulli(logits, image)
    return value - log_c.sum(2), gradient.sub_(slope)


LIKELIHOODS: dict[str, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    "bernoulli": bernoulli,
    "gaussian": gaussian,
    "continuous-bernoulli": continuous_bernoulli,
}
"""Value and gradient by the name of the likelihood."""
