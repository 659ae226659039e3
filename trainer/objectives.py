"""The terms of the evidence lower bound, in nats, one value per image; and what their smallest value can be."""

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor


def bernoulli_nll(logits: Tensor, image: Tensor) -> Tensor:
    """−log p(image | z) of independent Bernoulli pixels, summed over pixels: (N,).

    logits, image: float32 (N, C, H, W); image in [0, 1]. Working on logits keeps the gradient alive where a sigmoid
    would saturate. For a gray image this is the expected value over its random binarisation, not a likelihood of the
    gray image itself.
    """
    return F.binary_cross_entropy_with_logits(logits, image, reduction="none").flatten(1).sum(1)


def kl_to_standard_normal(mean: Tensor, log_var: Tensor) -> Tensor:
    """KL(q(z|x) || N(0, I)) in nats, summed over latents: (N,).

    mean, log_var: float32 (N, latent_dim). Kingma & Welling 2014, appendix B.
    """
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1)


def bernoulli_entropy_floor(images: npt.NDArray[np.uint8]) -> float:
    """Mean over images of Σ_pixels H(Bernoulli(pixel / 255)), in nats: no model's `bernoulli_nll` can be lower.

    images: uint8 (N, H, W, C).
    """
    x = np.arange(256) / 255
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.nan_to_num(x * np.log(x)) - np.nan_to_num((1 - x) * np.log1p(-x))
    return float(np.bincount(images.ravel(), minlength=256) @ entropy / len(images))


def to_float(pixels: Tensor) -> Tensor:
    """uint8 (N, H, W, C) → float32 (N, C, H, W) in [0, 1]: pixel / 255, correctly rounded, on any device.

    Dividing by a tensor matters: for a plain number CUDA multiplies by the rounded reciprocal, and then trainer and
    runtime would not see the same image.
    """
    return pixels.permute(0, 3, 1, 2).to(torch.float32).div_(torch.full((), 255.0, device=pixels.device))
