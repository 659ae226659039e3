"""Which kind of step trains what on which device."""

from __future__ import annotations

import torch
from torch import nn

from trainer.model.vae import VAE
from trainer.settings import Settings
from trainer.training.steps.autograd import AutogradGradient, AutogradStep
from trainer.training.steps.cuda_graph import GraphStep
from trainer.training.steps.gemm import Products
from trainer.training.steps.mlp import MlpGradient
from trainer.training.steps.product_speed import fastest_library
from trainer.training.steps.split import SplitStep
from trainer.training.steps.step import Gradient, Step
from trainer.training.steps.workers import Workers
from trainer.training.team import Team

_LEAST_IMAGES = {"mlp": 16, "conv": 4, "resize-conv": 4, "conv4x4": 4}
"""Images in a part of a batch: with fewer, products are too narrow to be worth a thread."""

_MOST_AT_ONCE = 32
_WORK_AT_ONCE = 2**31
"""Images times weights in one call of a step: 0.1 s, after which progress is shown and an interrupt is noticed."""


def choose_step(
    model: VAE,
    weights: nn.Parameter,
    optimizer: torch.optim.Optimizer,
    settings: Settings,
    *,
    team: Team,
    graph: bool,
    library: str | None = None,
) -> Step:
    """A step for `model`, whose parameters are views of `weights`, on the device where these are.

    graph: on a GPU, replay the step as a CUDA graph, unless there is a team. library: for the products of an MLP
    on the CPU, see `Products`; None takes the fastest.
    """
    if team.world_size > 1:
        return AutogradStep(model, weights, optimizer, settings, team)
    if weights.device.type == "cuda":
        step = AutogradStep(model, weights, optimizer, settings)
        return GraphStep(step, settings.batch_size) if graph else step
    if not AutogradGradient.supports(settings):
        return AutogradStep(model, weights, optimizer, settings)
    return split_step(model, weights, optimizer, settings, parts=_part_count(settings), library=library)


def split_step(
    model: VAE,
    weights: nn.Parameter,
    optimizer: torch.optim.Optimizer,
    settings: Settings,
    *,
    parts: int,
    library: str | None = None,
) -> SplitStep:
    """A step on the CPU for any model that `AutogradGradient` supports. library: see `choose_step`."""
    read, rounded = weights.detach(), None
    gradient: Gradient
    if not MlpGradient.supports(settings):
        gradient = AutogradGradient(model, read, settings, parts)
    else:
        if settings.precision == "bf16":
            read = rounded = read.to(torch.bfloat16)
        gradient = MlpGradient(model, read, settings, parts, Products(library or fastest_library(read.dtype)))
    return SplitStep(
        weights,
        optimizer,
        gradient,
        Workers(parts),
        clip_norm=settings.clip_norm,
        rounded=rounded,
        at_once=max(1, min(_MOST_AT_ONCE, _WORK_AT_ONCE // (weights.numel() * settings.batch_size))),
    )


def _part_count(settings: Settings) -> int:
    """As many as torch has threads, but each with enough images."""
    return max(1, min(torch.get_num_threads(), settings.batch_size // _LEAST_IMAGES[settings.network]))
