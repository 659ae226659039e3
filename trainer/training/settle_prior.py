"""The prior that a run's checkpoints draw from: fitted to their weights once training has ended."""

from __future__ import annotations

from dataclasses import replace

import torch

from trainer.checkpoint import Checkpoint, load_checkpoint
from trainer.data.dataset import ImageData
from trainer.prior import FittedPrior, fit_prior
from trainer.training.run_folder import Run


def settle_prior(run: Run, data: ImageData, kind: str, device: torch.device) -> tuple[Checkpoint, FittedPrior | None]:
    """Give `best.pt` and `last.pt` their prior, each for its own weights.

    kind: mixture, or normal for N(0, I), which removes a mixture that was fitted before. A mixture that is already
    there stays, because the fit is a function of weights, data and the run's seed. Returns the best checkpoint, and
    what was fitted to it now, if anything was.
    """
    best, fitted = _settle(load_checkpoint(run.best), data, kind, device)
    best.save(run.best)
    last = load_checkpoint(run.last)
    if last.epoch == best.epoch:
        last = replace(last, prior=best.prior)
    else:
        last, _ = _settle(last, data, kind, device)
    last.save(run.last)
    return best, fitted


def _settle(
    checkpoint: Checkpoint, data: ImageData, kind: str, device: torch.device
) -> tuple[Checkpoint, FittedPrior | None]:
    if kind == "normal":
        return replace(checkpoint, prior=None), None
    if checkpoint.prior is not None:
        return checkpoint, None
    fitted = fit_prior(
        checkpoint.build_model().to(device),
        data.train_images,
        data.train_labels,
        seed=checkpoint.settings.seed,
        class_names=data.class_names,
    )
    return replace(checkpoint, prior=fitted.prior), fitted
