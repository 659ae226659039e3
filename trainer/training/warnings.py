"""Warnings that name the cure: before training, and after an epoch."""

from __future__ import annotations

import math

import torch

from trainer.data.dataset import ImageData
from trainer.data.pixels import to_float
from trainer.model.vae import VAE
from trainer.settings import Settings
from trainer.training.steps.product_speed import bf16_slowness

FEWEST_STEPS = 1000
"""With fewer training steps than this, samples and reconstructions are usually blurs."""
_SAME_IMAGE_SHARE = 0.05  # of the variance over test images; below it, all reconstructions are about one image
_IMAGES = 256


def few_steps_warning(settings: Settings, images: int) -> str | None:
    """A warning where the run has too few training steps for so many training images; None where it has enough."""
    in_epoch = math.ceil(images / settings.batch_size)
    steps = settings.epochs * in_epoch
    if steps >= FEWEST_STEPS:
        return None
    return (
        f"{images:,} images in {settings.epochs} epoch{'s' * (settings.epochs > 1)} make only {steps:,} training "
        f"step{'s' * (steps > 1)}, too few for sharp images; "
        f"try --epochs {math.ceil(FEWEST_STEPS / in_epoch)} or a smaller --batch-size"
    )


def slow_bf16_warning(settings: Settings, device: torch.device) -> str | None:
    """A warning where products in bf16 take longer than in float32, as on processors without matrix units."""
    if settings.precision != "bf16" or device.type != "cpu":
        return None
    slowness = bf16_slowness()
    if slowness <= 1:
        return None
    return (
        f"products in bf16 take {slowness:.1f} times as long as in float32 on this processor; "
        "--precision float32 trains faster"
    )


@torch.no_grad()
def same_image_warning(model: VAE, data: ImageData, settings: Settings, epoch: int) -> str | None:
    """A warning where the model gives nearly the same image for every test image, once a tenth of the run is done.

    Compares the variance over images of reconstructions and of the images themselves, summed over pixels. Only epoch
    ceil(epochs / 10) and the last one are looked at; None for the others. model: on the CPU, in evaluation mode.
    """
    if epoch not in (math.ceil(settings.epochs / 10), settings.epochs):
        return None
    image = to_float(torch.tensor(data.test_images[:_IMAGES]))
    reconstruction = model(image)[0]
    share = reconstruction.var(0, correction=0).sum() / image.var(0, correction=0).sum()
    if share >= _SAME_IMAGE_SHARE:
        return None
    cure = "train longer" if epoch < settings.epochs else "train longer with --resume and more --epochs"
    other = "" if settings.preset == "photo" else ", or try --preset photo"
    return f"every image is reconstructed as nearly the same one ({share:.1%} of the variance): {cure}{other}"
