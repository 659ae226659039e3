"""Augmentation: images mirrored at random, drawn anew in each epoch."""

import torch
from torch import Tensor


def flip_(images: Tensor, generator: torch.Generator) -> None:
    """Mirror each of `images`, uint8 (N, H, W, C), left to right with probability ½, in place.

    generator: on the CPU, so that the same images are mirrored on every device.
    """
    mirrored = torch.randint(2, (len(images),), generator=generator).nonzero().flatten().to(images.device)
    images[mirrored] = images[mirrored].flip(2)
