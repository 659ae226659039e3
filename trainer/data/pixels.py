"""Conversion of uint8 images on a device to the float32 images that a model takes."""

import torch
from torch import Tensor


def to_float(pixels: Tensor) -> Tensor:
    """uint8 (N, H, W, C) → float32 (N, C, H, W) in [0, 1]: pixel / 255, correctly rounded, on any device.

    The divisor must be a tensor: for a Python number, CUDA multiplies by the rounded reciprocal, and the result would
    not be bit-identical to the runtime's.
    """
    return pixels.permute(0, 3, 1, 2).to(torch.float32).div_(torch.full((), 255.0, device=pixels.device))
