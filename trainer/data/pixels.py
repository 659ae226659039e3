"""uint8 images on a device as the float32 images that a model takes."""

import torch
from torch import Tensor


def to_float(pixels: Tensor) -> Tensor:
    """uint8 (N, H, W, C) → float32 (N, C, H, W) in [0, 1]: pixel / 255, correctly rounded, on any device.

    Dividing by a tensor matters: for a plain number CUDA multiplies by the rounded reciprocal, and then trainer and
    runtime would not see the same image.
    """
    return pixels.permute(0, 3, 1, 2).to(torch.float32).div_(torch.full((), 255.0, device=pixels.device))
