"""One pass over the training images: order, noise and binarisation are drawn in bulk, then it is steps alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from trainer.binarize import binarize
from trainer.checkpoint import Checkpoint
from trainer.distributed import ALONE, Team
from trainer.errors import SettingsError
from trainer.flat import flatten_parameters
from trainer.gemm import has_bf16
from trainer.graph_step import GraphStep
from trainer.mlp_step import MlpStep
from trainer.model import VAE, ModelConfig, build_model, start_at_mean
from trainer.seeds import derive_seed, generator
from trainer.settings import Settings
from trainer.step import AutogradStep, Step

_NOISE_AT_ONCE = 2**22  # numbers, 16 MB: all of an epoch with one draw of 32 latents for 60,000 images


@dataclass(frozen=True)
class EpochTotals:
    """Means over the training images of an epoch, as trained on, in nats per image."""

    loss: float
    reconstruction: float
    kl: float


@dataclass(frozen=True)
class TrainingState:
    """What training changes: the weights, and what the optimiser remembers of their gradients."""

    model: VAE
    weights: nn.Parameter
    """All weights of the model in one vector, see `flatten_parameters`."""
    optimizer: torch.optim.Optimizer
    step: Step
    team: Team = ALONE

    @classmethod
    def start(
        cls,
        config: ModelConfig,
        settings: Settings,
        device: torch.device,
        checkpoint: Checkpoint | None = None,
        *,
        mean_of: npt.NDArray[np.uint8] | None = None,
        graph: bool = True,
        team: Team = ALONE,
    ) -> TrainingState:
        """Fresh weights, a function of the seed, and Adam; or both as `checkpoint` left them.

        mean_of: images, uint8 (N, H, W, C), whose mean a fresh decoder starts at; it saves the tutorial preset 6 nats
        in the first epoch and 3 in the third. None leaves the output bias at random. graph: on a GPU, run the step as
        a CUDA graph, unless there is a team. team: the processes that train together. Raises SettingsError for bf16 on
        a processor without it.
        """
        if settings.precision == "bf16" and not has_bf16(device):
            raise SettingsError("--precision bf16: this processor has no bf16 instructions; use --precision float32")
        model = build_model(config, derive_seed(settings.seed, "weights"))
        if mean_of is not None:
            start_at_mean(model, mean_of)
        if team.size > 1:
            nn.SyncBatchNorm.convert_sync_batchnorm(model)  # in place, under the same names; without any, nothing
        model.to(device)
        weights = flatten_parameters(model)
        on_gpu = device.type == "cuda"
        optimizer = torch.optim.Adam(
            [weights],
            # A graph reads the learning rate anew at each replay only where it is a tensor.
            lr=torch.tensor(settings.learning_rate, device=device) if on_gpu else settings.learning_rate,
            eps=settings.adam_epsilon,
            fused=True,
            capturable=on_gpu,
        )
        if checkpoint is not None:
            model.load_state_dict(checkpoint.model_state)  # copies in place, so the views stay views
            # Only what Adam remembers: its options may be those of another device.
            remembered = checkpoint.optimizer_state["state"]
            optimizer.load_state_dict({**optimizer.state_dict(), "state": remembered})
        step: Step
        if team.size > 1:
            step = AutogradStep(model, weights, optimizer, settings, team)
        elif MlpStep.supports(settings, device):
            step = MlpStep(model, weights, optimizer, settings)
        else:
            step = AutogradStep(model, weights, optimizer, settings)
            if on_gpu and graph:
                step = GraphStep(step, settings.batch_size)
        return cls(model, weights, optimizer, step, team)


def train_epoch(
    state: TrainingState,
    images: Tensor,
    settings: Settings,
    epoch: int,
    advance: Callable[[int], object] = lambda images: None,
) -> EpochTotals:
    """One pass over `images`, uint8 (N, H, W, C). The order of the images, their binarisation and the noise depend on
    (seed, epoch) alone, and are the same in all processes of a team, of which each takes its part of every batch.

    advance: called after each step with the number of images done.
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
    noise = _NoiseSource(settings, epoch, len(images), device)

    # ---- steps ----
    state.step.totals.zero_()
    for start in range(0, len(images), size):
        pixels = shuffled[start : start + size]
        progress = epoch - 1 + start / len(images)
        part = state.team.part(len(pixels))
        state.step(pixels[part], noise.take(len(pixels))[part], settings.kl_weight(progress))
        advance(len(pixels))

    state.model.eval()
    totals = state.team.total(state.step.totals)
    loss, reconstruction, kl = (totals / len(images)).tolist()  # the only time the device is waited for
    return EpochTotals(loss, reconstruction, kl)


class _NoiseSource:
    """Standard normal noise, (images, draws, latent_dim), drawn in large blocks and handed out in slices."""

    def __init__(self, settings: Settings, epoch: int, images: int, device: torch.device) -> None:
        self.generator = generator(settings.seed, "noise", epoch, device=device)
        self.shape = (settings.draws, settings.latent_dim)
        batches = max(1, _NOISE_AT_ONCE // (settings.batch_size * settings.draws * settings.latent_dim))
        self.block_images = min(images, batches * settings.batch_size)
        self.block = torch.empty(0, *self.shape, device=device)

    def take(self, images: int) -> Tensor:
        """Noise for the next images; a block holds whole batches."""
        if len(self.block) < images:
            self.block = torch.randn(self.block_images, *self.shape, device=self.block.device, generator=self.generator)
        taken, self.block = self.block[:images], self.block[images:]
        return taken
