"""The state of training: the weights, Adam's moments, and the step that updates both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from trainer.checkpoint import Checkpoint
from trainer.data.dataset import ImageData
from trainer.model.size import TRAINING_BYTES, check_fits
from trainer.model.vae import VAE, ModelConfig, build_model, start_at_mean
from trainer.seeds import derive_seed
from trainer.settings import Settings
from trainer.training.average import Average
from trainer.training.execution import ON_CPU, Execution
from trainer.training.resume import check_optimizer_state
from trainer.training.steps.choose import choose_step
from trainer.training.steps.flat import flatten_parameters
from trainer.training.steps.step import Step
from trainer.training.team import ALONE, Team


def fresh_model(settings: Settings, data: ImageData) -> VAE:
    """The model that `settings` describe for the images of `data`, untrained, on the CPU.

    The weights depend on the seed alone. The output bias starts at the mean training image, which saves the tutorial
    preset 6 nats in the first epoch and 3 in the third. Raises SettingsError if the images are too small for the
    model, or the memory is.
    """
    config = ModelConfig.of(settings, data.image_shape)
    check_fits(config, TRAINING_BYTES)
    model = build_model(config, derive_seed(settings.seed, "weights"))
    start_at_mean(model, data.train_images)
    return model


@dataclass(frozen=True)
class TrainingState:
    """A model in training: its weights, Adam's moments, and the step that updates both."""

    model: VAE
    weights: nn.Parameter
    """All weights of the model in one vector, see `flatten_parameters`."""
    optimizer: torch.optim.Optimizer
    step: Step
    team: Team = ALONE
    average: Average | None = None
    """The moving average of the weights, where `settings` ask for one."""

    @classmethod
    def start(
        cls,
        model: VAE,
        settings: Settings,
        execution: Execution = ON_CPU,
        checkpoint: Checkpoint | None = None,
    ) -> TrainingState:
        """Prepare `model` for training, from its own weights or from those of `checkpoint`.

        model: on the CPU, see `fresh_model`; it is moved to the device, and its parameters become views of `weights`.
        checkpoint: restores weights and Adam's moments; its model must have the same configuration. Raises
        SettingsError if the device cannot compute in the precision of `settings`, and CheckpointError if the checkpoint
        lacks Adam's moments.
        """
        execution.check(settings)
        device, team = execution.device, execution.team
        if team.world_size > 1:
            nn.SyncBatchNorm.convert_sync_batchnorm(model)  # in place; parameter names stay the same
        model.to(device)
        weights = flatten_parameters(model)
        on_gpu = device.type == "cuda"
        optimizer = torch.optim.Adam(
            [weights],
            # A CUDA graph reads the learning rate at each replay only if it is a tensor.
            lr=torch.tensor(settings.learning_rate, device=device) if on_gpu else settings.learning_rate,
            eps=settings.adam_epsilon,
            fused=True,
            capturable=on_gpu,
        )
        if checkpoint is not None:
            check_optimizer_state(checkpoint, weights.numel())
            model.load_state_dict(checkpoint.model_state)  # copies in place, so the views stay views
            # Only Adam's moments and step count: the saved options, such as `capturable`, may be for another device.
            moments = checkpoint.optimizer_state["state"]
            optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
        average = Average(weights.detach(), settings.average) if settings.average else None
        if average is not None and checkpoint is not None:
            average.restore(checkpoint.optimizer_state["average"])
        library = None if checkpoint is None else checkpoint.optimizer_state.get("products")
        step = choose_step(model, weights, optimizer, settings, team=team, graph=execution.graph, library=library)
        return cls(model, weights, optimizer, step, team, average)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside the block the model has the averaged weights, if there are any: what is tested, saved and drawn."""
        with nullcontext() if self.average is None else self.average.in_place():
            yield

    def optimizer_state(self) -> dict[str, Any]:
        """Adam's state, that of the average if there is one, and the library of the step's products if it chose one:
        what a checkpoint needs besides the model.
        """
        average = {} if self.average is None else {"average": self.average.state()}
        products = {} if self.step.library is None else {"products": self.step.library}
        return {**self.optimizer.state_dict(), **average, **products}
