"""The reconstruction term with its gradient w.r.t. the logits, for each likelihood, from one sigmoid.

The values are those of `trainer.objective.likelihood` to rounding, and the gradients those that autograd finds there.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

_FACTORS = 8  # each is at least ½, so that their product is at least 1/256
_SMALL_LOGIT = 0.1  # as in `trainer.objective.likelihood`: below it the series is exact, the closed form is not


def bernoulli(logits: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    """Σ max(l, 0) − x l − log σ(|l|) in nats, (), and its gradient σ(l) − x, (N, pixels).

    logits, image: float32 (N, pixels); image in [0, 1]. `logits` is overwritten.
    """
    probability = logits.sigmoid()
    x_times_logit = torch.dot(image.reshape(-1), logits.view(-1))
    positive = logits.clamp_min_(0).sum()
    # σ(|l|) is the larger of σ(l) and 1 − σ(l), without a second exponential; one logarithm serves a product of eight.
    likely = torch.sub(probability, 0.5, out=logits).abs_().add_(0.5).view(-1)
    whole = likely.numel() // _FACTORS * _FACTORS
    log_sigmoid = likely[:whole].view(_FACTORS, -1).prod(0).log_().sum()
    if whole < likely.numel():
        log_sigmoid += likely[whole:].log_().sum()
    return positive - x_times_logit - log_sigmoid, probability.sub_(image)


def gaussian(logits: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    """Σ (σ(l) − x)², (), and its gradient 2 (σ(l) − x) σ(l) (1 − σ(l)), (N, pixels). `logits` is overwritten."""
    probability = torch.sigmoid(logits, out=logits)
    error = probability - image
    value = torch.dot(error.view(-1), error.view(-1))
    slope = torch.addcmul(probability, probability, probability, value=-1)  # σ'(l)
    return value, error.mul_(slope).mul_(2)


def continuous_bernoulli(logits: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    """The Bernoulli term less Σ log C(l), (), and its gradient, (N, pixels).

    C(l) = l / tanh(l / 2), so that (log C)'(l) = 1 / l − 1 / sinh(l): Loaiza-Ganem & Cunningham 2019, equation 6.
    """
    is_small = logits.abs() < _SMALL_LOGIT
    square = logits.square()
    large = torch.where(is_small, 1.0, logits)  # sinh overflows to ∞ at 89, where 1 / ∞ = 0 is right
    log_c = torch.where(
        is_small,
        math.log(2) + square / 12 - square.square() * (7 / 1440),
        torch.log(large.abs()) - torch.log(torch.tanh(large.abs() / 2)),
    )
    series = logits * (1 / 6 - square * (7 / 360))
    slope = torch.where(is_small, series, 1 / large - 1 / torch.sinh(large))
    value, gradient = bernoulli(logits, image)
    return value - log_c.sum(), gradient.sub_(slope)


LIKELIHOODS: dict[str, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    "bernoulli": bernoulli,
    "gaussian": gaussian,
    "continuous-bernoulli": continuous_bernoulli,
}
"""Value and gradient by the name of the likelihood."""
