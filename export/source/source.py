"""The input of an export: a trained model, images to check it on, and its provenance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from export.halves import Adapter, ForeignConfig, ForeignVAE
from export.source.modules import SMALLEST_IMAGES, check_images, foreign_model
from export.source.prior import foreign_prior
from runtime.images.pixels import to_uint8
from runtime.noise import standard_normal
from runtime.prior import Prior
from trainer.checkpoint import Checkpoint
from trainer.model.vae import VAE


@dataclass(frozen=True)
class Source:
    """A trained model with all that an export needs to know of it."""

    model: VAE | ForeignVAE
    """In evaluation mode, on the CPU."""
    reference_images: npt.NDArray[np.uint8]
    """(N, H, W, C), N ≥ 4: test images for the parity check, the calibration of int8 and the golden values."""
    likelihood: str | None
    """Pixel likelihood, a key of `trainer.objective.likelihood.NLL`; used to measure changes in ELBO and NLL.

    None where it is not known, and these are not measured."""
    provenance: dict[str, Any]
    """What was trained, on which data, with which versions; JSON types only."""
    prior: Prior | None = None
    """The mixture that samples are drawn from; None for N(0, I)."""

    @property
    def log_variance(self) -> torch.Tensor | None:
        """Log of the pixel variance that a calibrated Gaussian likelihood has learned, (1,); None without one."""
        return self.model.log_variance if isinstance(self.model, VAE) else None

    @property
    def latent_shape(self) -> tuple[int, ...] | None:
        """Shape of a spatial latent; None where a latent is a vector."""
        shape = self.model.config.latent_shape if isinstance(self.model, ForeignVAE) else ()
        return shape if len(shape) > 1 else None

    @property
    def largest_batch(self) -> int | None:
        """The largest batch that the model computes alike; None where any will do."""
        return self.model.largest_batch if isinstance(self.model, ForeignVAE) else None

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

    @classmethod
    def of_modules(
        cls,
        *,
        decoder: nn.Module,
        encoder: nn.Module | None = None,
        latent_shape: tuple[int, ...],
        image_shape: tuple[int, int, int],
        value_range: tuple[float, float] = (0.0, 1.0),
        images: npt.NDArray[np.uint8] | None = None,
        encode: Adapter | None = None,
        decode: Adapter | None = None,
        prior: str = "normal",
        labels: npt.NDArray[np.integer[Any]] | None = None,
        class_names: Sequence[str] | None = None,
    ) -> Source:
        """Anybody's trained modules, in evaluation mode, in float32, on the CPU. They are neither copied nor changed.

        decoder: z float32 (N, *latent_shape), standard normal → image (N, C, H, W) in value_range. encoder: such an
        image → mean and log-variance, (N, *latent_shape) each; None for a generator without an encoder.
        image_shape: (C, H, W), C 1 or 3. value_range: what the modules take for black and for white. images: uint8
        (N, H, W, C), N ≥ 4, real ones, for the check and the calibration; needed where there is an encoder.
        encode, decode: functions (module, its input) → its output, where the module's own call gives something else,
        such as `encode=lambda m, x: m.encode(x).latent_dist…`. They must use the module that they are given.
        prior: what samples are drawn from, normal or mixture; a mixture is fitted to the posterior of `images`, which
        should then be many, and makes samples of a class possible where there are labels. labels: integers (N,), the
        class of each image. class_names: what label i means; None for its number.

        Raises ModelError, with what was found and expected, where a half does not fit: another shape or type, training
        mode, another device, lazy or half-precision weights, random numbers, a fixed batch, rows that depend on each
        other, a branch on values, or images outside value_range; or where no prior can be fitted.
        """
        config = ForeignConfig(tuple(latent_shape), image_shape, (float(value_range[0]), float(value_range[1])))
        if encoder is not None or images is not None:
            check_images(images, image_shape)
        model = foreign_model(decoder, encoder, config, images, encode, decode)
        fitted = foreign_prior(model, images, prior, labels, class_names)
        name = "not recorded; checked on images that the caller gave"
        if images is None:
            images, name = _own_samples(model), "not recorded; there are no images"
        provenance = {
            "architecture": model.architecture,
            "origin": "modules of another project, not trained by vae-toolchain",
            "data": {"name": name},
            "value_range": list(config.value_range),
        }
        return cls(model, np.ascontiguousarray(images), None, provenance, fitted)


@torch.no_grad()
def _own_samples(model: ForeignVAE) -> npt.NDArray[np.uint8]:
    """A few images of the model itself, uint8 (N, H, W, C): it has no encoder that others could be checked on."""
    z = torch.from_numpy(standard_normal(0, np.arange(SMALLEST_IMAGES), model.config.latent_dim))
    low, high = model.config.value_range
    return to_uint8(((model.decoder(z.view(-1, *model.config.latent_shape)) - low) / (high - low)).numpy())
