"""One epoch: order, noise and binarisation are drawn in bulk, then the training steps run without further draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.data.augment import flip_
from trainer.data.binarize import binarize
from trainer.seeds import generator
from trainer.settings import Settings
from trainer.training.state import TrainingState

# Numbers, 16 MB. The noise of 60,000 images with one draw of 32 latents takes one block.
_NOISE_AT_ONCE = 2**22


@dataclass(frozen=True)
class EpochTotals:
    """Means over the training images of an epoch, as trained on, in nats per image."""

    loss: float
    reconstruction: float
    kl: float


def train_epoch(
    state: TrainingState,
    images: Tensor,
    settings: Settings,
    epoch: int,
    advance: Callable[[int], object] = lambda images: None,
) -> EpochTotals:
    """One pass over `images`, uint8 (N, H, W, C) on the device of `state`. epoch: from 1.

    The order of the images, their binarisation, their flips and the noise depend only on (seed, epoch). They are the
    same on every rank, and each rank takes its part of every batch. advance: called every few steps with the
    number of images done since.
    """
    device, size = images.device, settings.batch_size
    state.model.train()
    for group in state.optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(settings.learning_rate_in(epoch))
        else:
            group["lr"] = settings.learning_rate_in(epoch)

    # ---- everything random about this epoch ----
    order = torch.randperm(len(images), generator=generator(settings.seed, "order", epoch)).to(device)
    drawing = generator(settings.seed, "binarize", epoch, device=device)
    shuffled = binarize(images.index_select(0, order), settings.binarize, drawing)
    if settings.augment == "flip":
        flip_(shuffled, generator(settings.seed, "augment", epoch))
    noise = _NoiseSource(settings, epoch, len(images), device)

    # ---- steps ----
    state.step.totals.zero_()
    at_once = state.step.at_once if state.average is None else 1
    start = 0
    while start < len(images):
        batches = max(1, min(at_once, (len(images) - start) // size))  # the last one may be smaller
        pixels = shuffled[start : start + batches * size]
        progress = [epoch - 1 + (start + i * size) / len(images) for i in range(batches)]
        part = state.team.part(len(pixels))
        state.step(pixels[part], noise.take(len(pixels))[part], [settings.kl_weight(each) for each in progress])
        if state.average is not None:
            state.average.update()
        advance(len(pixels))
        start += len(pixels)

    state.model.eval()
    totals = state.team.total(state.step.totals)
    loss, reconstruction, kl = (totals / len(images)).tolist()  # the only host-device synchronisation of the epoch
    return EpochTotals(loss, reconstruction, kl)


class _NoiseSource:
    """Standard normal noise, (images, draws, latent_dim), drawn in large blocks and returned in slices."""

    def __init__(self, settings: Settings, epoch: int, images: int, device: torch.device) -> None:
        self.generator = generator(settings.seed, "noise", epoch, device=device)
        self.shape = (settings.draws, settings.latent_dim)
        batches = max(1, _NOISE_AT_ONCE // (settings.batch_size * settings.draws * settings.latent_dim))
        self.block_images = min(images, batches * settings.batch_size)
        self.block = torch.empty(0, *self.shape, device=device)

    def take(self, images: int) -> Tensor:
        """Noise for the next images."""
        while len(self.block) < images:
            block = torch.randn(self.block_images, *self.shape, device=self.block.device, generator=self.generator)
            self.block = torch.cat([self.block, block])
        taken, self.block = self.block[:images], self.block[images:]
        return taken
