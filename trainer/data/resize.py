"""Images brought to the size and number of channels that were asked for."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torchvision.transforms.v2 import functional

from trainer.data.dataset import ImageData

_CHUNK = 4096  # images at once


def reshape_data(data: ImageData, image_size: int | None, channels: int | None) -> ImageData:
    """The middle square of every image resampled to `image_size` pixels a side, in `channels` 1 or 3; None keeps."""
    own_channels, height, width = data.image_shape
    if (image_size is None or height == width == image_size) and channels in (None, own_channels):
        return data
    return replace(
        data,
        train_images=_reshape(data.train_images, image_size, channels),
        test_images=_reshape(data.test_images, image_size, channels),
    )


def _reshape(images: npt.NDArray[np.uint8], image_size: int | None, channels: int | None) -> npt.NDArray[np.uint8]:
    """uint8 (N, H, W, C) → uint8 (N, image_size, image_size, channels)."""
    parts = []
    for start in range(0, len(images), _CHUNK):
        part = torch.tensor(images[start : start + _CHUNK]).permute(0, 3, 1, 2)
        if channels == 1:
            part = functional.rgb_to_grayscale(part)
        elif channels == 3:
            part = part.expand(-1, 3, -1, -1)
        if image_size is not None:
            side = min(part.shape[2:])
            part = functional.center_crop(part, [side, side])
            part = functional.resize(part, [image_size, image_size], antialias=True)
        parts.append(part.permute(0, 2, 3, 1).numpy())
    return np.ascontiguousarray(np.concatenate(parts))
