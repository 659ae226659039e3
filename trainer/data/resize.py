"""Converts images to the requested size and number of channels, exactly as for image files."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from runtime.images.decode import fit_pixels
from runtime.machine.cpus import usable_cpus
from trainer.data.dataset import ImageData

_IMAGES_IN_TASK = 1024


def reshape_data(data: ImageData, image_size: int | None, channels: int | None) -> ImageData:
    """Crop every image to its central square and resample it to `image_size` pixels a side, in `channels` 1 or 3.

    None keeps the size or the channels. The conversion is that of `runtime.images.decode`: Lanczos, and luma for gray.
    """
    own_channels, height, width = data.image_shape
    if (image_size is None or height == width == image_size) and channels in (None, own_channels):
        return data
    shape = (channels or own_channels, image_size or height, image_size or width)
    return replace(
        data,
        train_images=_reshape(data.train_images, shape),
        test_images=_reshape(data.test_images, shape),
    )


def _reshape(images: npt.NDArray[np.uint8], image_shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """uint8 (N, H', W', C') → uint8 (N, H, W, C). image_shape: (C, H, W)."""
    channels, height, width = image_shape
    fitted = np.empty((len(images), height, width, channels), np.uint8)

    def work(start: int) -> None:
        for i in range(start, min(start + _IMAGES_IN_TASK, len(images))):
            fitted[i] = fit_pixels(images[i], image_shape)

    with ThreadPoolExecutor(usable_cpus()) as pool:
        list(pool.map(work, range(0, len(images), _IMAGES_IN_TASK)))  # list() re-raises exceptions of the threads
    return fitted
