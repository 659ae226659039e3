"""Binarisation of gray images, for which the Bernoulli likelihood is a proper likelihood."""

import torch
from torch import Tensor


def binarize(pixels: Tensor, how: str, generator: torch.Generator) -> Tensor:
    """uint8 images of any shape → uint8 of 0 and 255, or the images themselves.

    how: none; dynamic (white with the gray value as probability, Burda et al. 2016); static-threshold (white from 128).
    generator: on the device of `pixels`; dynamic alone draws from it. The probability is exactly pixel / 255.
    """
    if how == "none":
        return pixels
    if how == "static-threshold":
        return (pixels >= 128).to(torch.uint8) * 255
    below = torch.randint(255, pixels.shape, dtype=torch.uint8, device=pixels.device, generator=generator)
    return (below < pixels).to(torch.uint8) * 255
