"""Binarisation of gray images, for which the Bernoulli likelihood is a proper likelihood."""

import torch
from torch import Tensor


def binarize(pixels: Tensor, how: str, generator: torch.Generator) -> Tensor:
    """uint8 images of any shape → uint8 with values 0 and 255 only; `how` "none" returns them unchanged.

    how: none; dynamic (255 with probability exactly pixel / 255, Burda et al. 2016); static-threshold (255 from 128
    on). generator: on the device of `pixels`, used by dynamic only.
    """
    if how == "none":
        return pixels
    if how == "static-threshold":
        return (pixels >= 128).to(torch.uint8) * 255
    below = torch.randint(255, pixels.shape, dtype=torch.uint8, device=pixels.device, generator=generator)
    return (below < pixels).to(torch.uint8) * 255
