"""The training loop: the whole data set on the device, epoch after epoch, with a checkpoint after each."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict

import torch

from trainer.checkpoint import Checkpoint, DataRecord, EpochMetrics, current_versions
from trainer.data.binarize import binarize
from trainer.data.dataset import ImageData
from trainer.errors import TrainingError
from trainer.model.vae import VAE
from trainer.objective.bound import Objective
from trainer.objective.likelihood import reconstruction_floor
from trainer.objective.score import evaluate
from trainer.seeds import generator
from trainer.settings import Settings
from trainer.training.epoch import train_epoch
from trainer.training.execution import ON_CPU, Execution
from trainer.training.run_folder import Run
from trainer.training.state import TrainingState, fresh_model

_REFERENCE_IMAGES = 256


def fit(
    settings: Settings,
    data: ImageData,
    run: Run,
    *,
    execution: Execution = ON_CPU,
    model: VAE | None = None,
    checkpoint: Checkpoint | None = None,
    advance: Callable[[int], object] = lambda images: None,
) -> Iterator[Checkpoint]:
    """Train a model. After each epoch, save `last.pt`, `best.pt` if the test loss is the lowest so far, and the
    history, then yield the checkpoint. Nothing happens until the result is iterated.

    settings, data: what to train on what. run: the folder to write to.
    execution: device, CUDA graphs and processes; by default the CPU and this process alone. Under torchrun every
    process calls `fit` with the same arguments and gets the same metrics, and rank 0 alone writes.
    model: the untrained model; None builds it with `fresh_model`.
    checkpoint: resume after its last epoch, with the same settings and data (see `check_resumable`). With the same
    number of threads on the same machine, the final weights are bit-identical to those of an uninterrupted run.
    advance: called every few steps with the number of images done since, for a progress bar.

    Ends early when `settings.patience` epochs in a row have not lowered the test loss: a function of the history, so
    that a resumed run stops in the same epoch.

    Raises TrainingError, in all processes, if a loss is not finite; the checkpoints of earlier epochs are kept. Raises
    OutputError if another process is writing to the run.
    """
    device, team = execution.device, execution.team

    # ---- the whole data set on the device, as uint8 ----
    train_images = torch.tensor(data.train_images, device=device)
    test_images = binarize(
        torch.tensor(data.test_images, device=device),
        settings.binarize,
        generator(settings.seed, "binarize", device=device),  # the same binarised test images in every epoch
    )
    record = DataRecord(
        name=data.name,
        sha256=data.sha256,
        train_images=len(train_images),
        test_images=len(test_images),
        entropy_floor=reconstruction_floor(settings.likelihood, test_images.cpu().numpy()),
    )

    # ---- model and optimiser ----
    objective = Objective.of(settings)
    state = TrainingState.start(model or fresh_model(settings, data), settings, execution, checkpoint)

    # ---- epochs ----
    with run.owned() if team.leads else nullcontext():
        history = [] if checkpoint is None else list(checkpoint.history)
        if checkpoint is not None and team.leads:
            _save(checkpoint, run)  # the run may have been interrupted between writing two of its files
        for epoch in range(len(history) + 1, settings.epochs + 1):
            if has_stalled(history, settings.patience):
                return
            started = time.perf_counter()
            train = train_epoch(state, train_images, settings, epoch, advance)
            seconds = time.perf_counter() - started
            with state.averaged():
                test = evaluate(state.model, test_images, objective=objective, seed=settings.seed)
                model_state = {name: tensor.clone() for name, tensor in state.model.state_dict().items()}
            history.append(
                EpochMetrics(
                    epoch=epoch,
                    train_loss=train.loss,
                    train_reconstruction=train.reconstruction,
                    train_kl=train.kl,
                    test_loss=test.loss,
                    test_reconstruction=test.reconstruction,
                    test_kl=test.kl,
                    images_per_s=len(train_images) / seconds,
                    active_units=test.active_units,
                    test_kl_per_dimension=test.kl_per_dimension,
                )
            )
            _check_finite(history, run)
            checkpoint = Checkpoint(
                model_config=state.model.config,
                settings=settings,
                data=record,
                model_state=model_state,
                optimizer_state=state.optimizer_state(),
                history=tuple(history),
                # A copy, because torch.save writes all of a view's storage.
                reference_images=test_images[:_REFERENCE_IMAGES].cpu().clone(),
                versions=current_versions(),
            )
            if team.leads:
                _save(checkpoint, run)
            yield checkpoint


def has_stalled(history: Sequence[EpochMetrics], patience: int) -> bool:
    """Whether none of the last `patience` epochs had the lowest test loss so far; never for a patience of 0."""
    if not patience or not history:
        return False
    best = min(history, key=lambda metrics: metrics.test_loss)
    return history[-1].epoch - best.epoch >= patience


def _save(checkpoint: Checkpoint, run: Run) -> None:
    history = checkpoint.history
    is_best = history[-1].test_loss == min(metrics.test_loss for metrics in history)
    checkpoint.save(run.last, *([run.best] if is_best else []))
    run.write_history(history)


def _check_finite(history: list[EpochMetrics], run: Run) -> None:
    newest = history[-1]
    terms = {name: getattr(newest, name) for name in asdict(newest) if name.startswith(("train_", "test_"))}
    broken = [name for name, value in terms.items() if isinstance(value, float) and not math.isfinite(value)]
    if not broken:
        return
    kept = f"{run.last} holds epoch {newest.epoch - 1}" if newest.epoch > 1 else "no epoch was finished"
    raise TrainingError(
        f"in epoch {newest.epoch} no longer finite: {', '.join(f'{name} {terms[name]}' for name in broken)}; "
        f"{kept}; try a lower --learning-rate or --clip-norm 1"
    )
