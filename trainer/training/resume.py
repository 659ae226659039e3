"""Resuming a run: checks that settings, data and checkpoint fit together."""

from __future__ import annotations

from dataclasses import asdict, replace

import torch

from trainer.checkpoint import Checkpoint
from trainer.errors import CheckpointError, SettingsError
from trainer.settings import Settings
from trainer.training.steps.gemm import BLAS, ONEDNN


def check_resumable(settings: Settings, data_sha256: str, checkpoint: Checkpoint) -> None:
    """Raise SettingsError, naming every difference, unless `settings` and data are those of `checkpoint`, and
    CheckpointError if the checkpoint lacks Adam's moments.

    The number of epochs may grow, and the patience may change. A cosine schedule then falls over the new number of
    epochs: the remaining ones train at the rates of a run of that length.
    """
    before = checkpoint.settings
    if settings.epochs >= checkpoint.epoch:
        before = replace(before, epochs=settings.epochs)
    before = replace(before, patience=settings.patience)
    old, new = asdict(before), asdict(settings)
    differences = [f"{key} is {new[key]} but was {old[key]}" for key in new if new[key] != old[key]]
    if data_sha256 != checkpoint.data.sha256:
        differences.append(f"the data have the hash {data_sha256[:8]}… but had {checkpoint.data.sha256[:8]}…")
    if differences:
        raise SettingsError(
            f"this run cannot be resumed with other settings: {'; '.join(differences)}; "
            "leave them out, or start a new run; only --epochs may grow, and --patience may change"
        )
    check_optimizer_state(checkpoint, sum(parameter.numel() for parameter in checkpoint.build_model().parameters()))


def check_optimizer_state(checkpoint: Checkpoint, weights: int) -> None:
    """Raise CheckpointError unless the checkpoint has all that training continues from.

    That is Adam's step count and its two moments for a vector of `weights` numbers, the library of the products where
    the run chose one and, where the model is an average of weights, the weights in training.
    """
    expected = {"step": (), "exp_avg": (weights,), "exp_avg_sq": (weights,)}
    state = checkpoint.optimizer_state.get("state")
    memory = state.get(0) if isinstance(state, dict) else None
    found = {
        name: tuple(value.shape) if isinstance(value, torch.Tensor) else None
        for name, value in (memory.items() if isinstance(memory, dict) else ())
    }
    if found != expected:
        raise CheckpointError(
            f"the checkpoint cannot be resumed: the state of Adam should be {expected} but is {found}; "
            "it can still be exported and evaluated"
        )
    products = checkpoint.optimizer_state.get("products")
    if products not in (None, ONEDNN, BLAS):
        raise CheckpointError(
            f"the checkpoint cannot be resumed: its products should be by {ONEDNN} or {BLAS} but are by "
            f"{products!r:.100}; it can still be exported and evaluated"
        )
    average = checkpoint.optimizer_state.get("average")
    trained = average.get("weights") if isinstance(average, dict) else None
    if checkpoint.settings.average and not (isinstance(trained, torch.Tensor) and trained.shape == (weights,)):
        raise CheckpointError(
            "the checkpoint cannot be resumed: it has the average of the weights but not the weights themselves; "
            "it can still be exported and evaluated"
        )
