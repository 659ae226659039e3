"""What an export starts from: a model, images to check it on, and where both come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.checkpoint import Checkpoint
from trainer.model.vae import VAE


@dataclass(frozen=True)
class Source:
    """A trained model on its way into a bundle."""

    model: VAE
    """In evaluation mode, on the CPU."""
    reference_images: npt.NDArray[np.uint8]
    """(N, H, W, C), at least 4: real test images that the export is checked on."""
    likelihood: str
    """Of a pixel, a name in `trainer.objective.likelihood.NLL`: what bounds on log p(x) are measured with."""
    provenance: dict[str, Any]
    """What was trained, on what, by which versions: plain values for JSON."""

    @classmethod
    def of_checkpoint(cls, checkpoint: Checkpoint) -> Source:
        """Everything is in a checkpoint of `vae-train`."""
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
        )
