"""What training changes: the weights, the optimiser's memory, and the step that updates both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from trainer.checkpoint import Checkpoint
from trainer.errors import SettingsError
from trainer.model.vae import VAE, ModelConfig, build_model, start_at_mean
from trainer.seeds import derive_seed
from trainer.settings import Settings
from trainer.training.steps.choose import choose_step
from trainer.training.steps.flat import flatten_parameters
from trainer.training.steps.gemm import has_bf16
from trainer.training.steps.step import Step
from trainer.training.team import ALONE, Team


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
        step = choose_step(model, weights, optimizer, settings, team=team, graph=graph)
        return cls(model, weights, optimizer, step, team)
