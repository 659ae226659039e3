"""Likelihoods and KL terms in nats, one value per image, and the lower limit of a reconstruction term."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Number of factors σ(|l|) multiplied before taking one logarithm. Each factor is in [½, 1], so the product cannot
# underflow. More factors mean fewer logarithms, but memory is read in shorter pieces.
FACTORS, _FACTORS_OF_MANY_DRAWS = 8, 16


def bernoulli_nll(logits: Tensor, image: Tensor) -> Tensor:
    """−log p(image | z) of independent Bernoulli pixels, summed over pixels: (N,).

    logits, image: float32 (N, C, H, W); image in [0, 1]. Working on logits keeps the gradient alive where a sigmoid
    would saturate. For a gray image this is the expected value over its random binarisation, not a likelihood of the
    gray image itself.
    """
    nll: Tensor = _BernoulliNll.apply(logits.flatten(1), image.flatten(1))
    return nll


class _BernoulliNll(torch.autograd.Function):
    """`bernoulli_nll_value` with its gradient σ(l) − x in closed form."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, image: Tensor) -> Tensor:
        ctx.save_for_backward(logits, image)
        return bernoulli_nll_value(logits, image)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        logits, image = ctx.saved_tensors
        return logits.sigmoid().sub_(image).mul_(gradient[:, None]), None


def bernoulli_nll_value(logits: Tensor, image: Tensor) -> Tensor:
    """Σ max(l, 0) − x l − log σ(|l|) over each row, without a gradient: float32 (N, pixels) twice → (N,).

    Equals `binary_cross_entropy_with_logits` up to float32 rounding, but avoids its log1p, which takes up to 0.6 ms for
    128 images on the CPU, a quarter of the whole training step.
    """
    log_sigmoid = sum_log(logits.abs().sigmoid_(), FACTORS)
    return logits.clamp_min(0).addcmul_(image, logits, value=-1).sum(1).sub_(log_sigmoid)


def sum_log(likely: Tensor, factors: int) -> Tensor:
    """Σ log p over the last axis of `likely`, probabilities of at least ½: (..., pixels) → (...).

    Takes one logarithm per product of `factors` values.
    """
    whole = likely.shape[-1] // factors * factors
    total: Tensor = likely[..., :whole].unflatten(-1, (factors, -1)).prod(-2).log_().sum(-1)
    if whole < likely.shape[-1]:
        total += likely[..., whole:].log().sum(-1)
    return total


def log_likelihood_(logits: Tensor, image: Tensor, likelihood: str, log_variance: Tensor | None = None) -> Tensor:
    """log p(x | z) of many draws for each image, without a gradient: (N, draws, pixels), (N, pixels) → (N, draws).

    likelihood, log_variance: see `nll_of`. Overwrites `logits`. The Bernoulli likelihood is Σ x l − softplus(l); with
    softplus(l) = (l + |l|) / 2 − log σ(|l|) its linear part is a matrix product, which takes a tenth of the time of
    `binary_cross_entropy_with_logits`. The float32 rounding error is about 1e-4 nats at 784 pixels. The Gaussian
    likelihood omits its constant, see `gaussian_nll`.
    """
    if likelihood != "bernoulli":
        repeated = image[:, None].expand_as(logits)
        nll = nll_of(likelihood, logits.flatten(0, 1), repeated.flatten(0, 1), log_variance)
        return -nll.view(logits.shape[:2])
    linear = torch.bmm(logits, (image - 0.5)[:, :, None])[:, :, 0]  # (N, draws)
    magnitude = logits.abs_()
    linear -= 0.5 * magnitude.sum(2)
    return linear + sum_log(magnitude.sigmoid_(), _FACTORS_OF_MANY_DRAWS)


def gaussian_nll(logits: Tensor, image: Tensor) -> Tensor:
    """Squared error between the image and σ(logits), summed over pixels: (N,).

    −log p(image | z) for Gaussian pixels with mean σ(logits) and variance 1/2, without the constant ½ log π per pixel.
    logits, image: float32 (N, C, H, W).
    """
    return (torch.sigmoid(logits) - image).square().flatten(1).sum(1)


def continuous_bernoulli_nll(logits: Tensor, image: Tensor) -> Tensor:
    """−log p(image | z) of independent continuous Bernoulli pixels with parameter σ(logits), summed over pixels: (N,).

    The density on [0, 1] is proportional to λ^x (1 − λ)^(1 − x) (Loaiza-Ganem & Cunningham 2019). It can exceed 1, so
    the result can be negative. logits, image: float32 (N, C, H, W).
    """
    return bernoulli_nll(logits, image) - log_normalizer(logits).flatten(1).sum(1)


SMALL_LOGIT = 0.1
"""Below this, the series of `log_normalizer` is exact to float32 rounding, and the closed form is not."""


def log_normalizer(logits: Tensor) -> Tensor:
    """log C(λ) of the continuous Bernoulli, where λ = σ(l): C = 2 artanh(1 − 2λ) / (1 − 2λ) = l / tanh(l / 2)."""
    is_small = logits.abs() < SMALL_LOGIT
    # The branch not taken must stay finite too, or its gradient, 0 · NaN, would make the result NaN.
    large = torch.where(is_small, 1.0, logits).abs()
    square = torch.where(is_small, logits, 0.0).square()
    series = math.log(2) + square / 12 - square.square() * (7 / 1440)
    return torch.where(is_small, series, torch.log(large) - torch.log(torch.tanh(large / 2)))


def calibrated_gaussian_nll(logits: Tensor, image: Tensor, log_variance: Tensor) -> Tensor:
    """−log p(image | z) of Gaussian pixels of variance σ² around σ(logits), summed over pixels: (N,).

    log_variance: log σ², (1,), one for all pixels of all images (σ-VAE: Rybkin, Daniilidis & Levine 2021, section 3.1).
    The optimal σ² is the mean squared error, which balances reconstruction and KL without a β. A density on pixels in
    [0, 1], so this can be negative. logits, image: float32 (N, C, H, W).
    """
    pixels = image.shape[1:].numel()
    return 0.5 * (gaussian_nll(logits, image) / log_variance.exp() + pixels * (log_variance + math.log(2 * math.pi)))


NLL: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "bernoulli": bernoulli_nll,
    "gaussian": gaussian_nll,
    "continuous-bernoulli": continuous_bernoulli_nll,
}
"""−log p(image | z) by the name of the likelihood, for those without a parameter; `nll_of` knows all."""


def nll_of(likelihood: str, logits: Tensor, image: Tensor, log_variance: Tensor | None = None) -> Tensor:
    """−log p(image | z), summed over pixels: (N,). logits, image: float32 (N, C, H, W), or (N, pixels).

    likelihood: a name in `NLL`, or calibrated-gaussian, which alone takes log_variance (1,): see `VAE.log_variance`.
    """
    if likelihood != "calibrated-gaussian":
        return NLL[likelihood](logits, image)
    assert log_variance is not None  # a model trained with this likelihood has one
    return calibrated_gaussian_nll(logits, image, log_variance)


def kl_per_dimension(mean: Tensor, log_var: Tensor) -> Tensor:
    """KL(q(z_d|x) || N(0, 1)) in nats for each latent dimension: (N, latent_dim).

    mean, log_var: float32 (N, latent_dim). Kingma & Welling 2014, appendix B.
    """
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var)


def kl_to_standard_normal(mean: Tensor, log_var: Tensor) -> Tensor:
    """KL(q(z|x) || N(0, I)) in nats, summed over latents: (N,)."""
    return kl_per_dimension(mean, log_var).sum(1)


def reconstruction_floor(likelihood: str, images: npt.NDArray[np.uint8]) -> float | None:
    """Lower limit of the mean reconstruction term on `images`, uint8 (N, H, W, C), in nats per image.

    likelihood: as for `nll_of`. None for the continuous Bernoulli, whose density at 0 and 1 is unbounded, and for the
    calibrated Gaussian, whose variance is the model's.
    """
    if likelihood == "bernoulli":
        return bernoulli_entropy_floor(images)
    return 0.0 if likelihood == "gaussian" else None


def bernoulli_entropy_floor(images: npt.NDArray[np.uint8]) -> float:
    """Mean over images of Σ_pixels H(Bernoulli(pixel / 255)), in nats: no model's `bernoulli_nll` can be lower.

    images: uint8 (N, H, W, C).
    """
    x = np.arange(256) / 255
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.nan_to_num(x * np.log(x)) - np.nan_to_num((1 - x) * np.log1p(-x))
    return float(np.bincount(images.ravel(), minlength=256) @ entropy / len(images))
