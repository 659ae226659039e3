"""The input of an export: a trained model, images to check it on, and its provenance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.prior import Prior
from trainer.checkpoint import Checkpoint
from trainer.model.vae import VAE


@dataclass(frozen=True)
class Source:
    """A trained model with all that an export needs to know of it."""

    model: VAE
    """In evaluation mode, on the CPU."""
    reference_images: npt.NDArray[np.uint8]
    """(N, H, W, C), N ≥ 4: test images for the parity check, the calibration of int8 and the golden values."""
    likelihood: str
    """Pixel likelihood, a key of `trainer.objective.likelihood.NLL`; used to measure changes in ELBO and NLL."""
    provenance: dict[str, Any]
    """What was trained, on which data, with which versions; JSON types only."""
    prior: Prior | None = None
    """The mixture that samples are drawn from; None for N(0, I)."""

    @classmethod
    def of_checkpoint(cls, checkpoint: Checkpoint) -> Source:
        """The model of a checkpoint of `vae-train`, with the test images and the history saved in it."""
        model = checkpoint.build_model()
        last = checkpoint.history[-1]
        return cls(
            model,
            checkpoint.reference_images.numpy(),
            checkpoint.settings.likelihood,
            {
                "architecture": model.architecture,
                "data": {"name": checkpoint.data.name, "sha256": checkpoint.data.sha256},
                "training": {
                    "preset": checkpoint.settings.preset,
                    "epoch": checkpoint.epoch,
                    "seed": checkpoint.settings.seed,
                    "beta": checkpoint.settings.beta,
                    "test_loss_nats": round(last.test_loss, 4),
                    "test_reconstruction_nats": round(last.test_reconstruction, 4),
                    "test_kl_nats": round(last.test_kl, 4),
                },
                "trained_with": checkpoint.versions,
            },
            checkpoint.prior,
        )
