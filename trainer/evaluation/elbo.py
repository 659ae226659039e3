"""The evidence lower bound split into floor, excess and KL, in total, by class and by latent dimension."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainer.model.vae import VAE
from trainer.objective.active import count_active_by_kl, count_active_by_variance
from trainer.objective.bound import Objective
from trainer.objective.likelihood import reconstruction_floor
from trainer.objective.score import score_batches


@dataclass(frozen=True)
class ElboTerms:
    """Means over a set of images, in nats per image."""

    images: int
    floor: float | None
    """Lower limit of `reconstruction`: the pixel entropy for a Bernoulli likelihood. None: it has no limit."""
    reconstruction: float
    """−log p(x | z) for one draw of z from q(z | x)."""
    kl: float

    @property
    def negative_elbo(self) -> float:
        """reconstruction + KL."""
        return self.reconstruction + self.kl


@dataclass(frozen=True)
class Elbo:
    """The bound on a set of images, and the contribution of each latent dimension."""

    total: ElboTerms
    by_class: dict[int, ElboTerms]
    """By label; empty if the data has no labels."""
    kl_per_dimension: tuple[float, ...]
    """Mean KL(q(z_d | x) || N(0, 1)) in nats."""
    mean_variance: tuple[float, ...]
    """Variance of the posterior mean over images."""

    @property
    def active_by_variance(self) -> int:
        """Dimensions whose posterior mean has a variance above `ACTIVE_VARIANCE`."""
        return count_active_by_variance(self.mean_variance)

    @property
    def active_by_kl(self) -> int:
        """Dimensions with a KL above `ACTIVE_KL_NATS`."""
        return count_active_by_kl(self.kl_per_dimension)


def measure_elbo(
    model: VAE, images: Tensor, labels: npt.NDArray[np.int64] | None, *, likelihood: str, seed: int = 0
) -> Elbo:
    """The evidence lower bound (β = 1, whatever the model was trained with) with one draw of z for each image.

    images: uint8 (N, H, W, C) on the model's device. labels: (N,). likelihood: a name in `likelihood.NLL`.
    """
    objective = Objective("elbo", likelihood, draws=1, beta=1.0, free_bits=0.0)
    parts = [terms for _, terms in score_batches(model, images, objective=objective, seed=seed)]
    reconstruction = torch.cat([part.reconstruction for part in parts]).double().cpu().numpy()
    kl = torch.cat([part.kl for part in parts]).double().cpu().numpy()  # (N, L)
    mean = torch.cat([part.mean for part in parts]).double().cpu().numpy()
    pixels = images.cpu().numpy()

    def over(chosen: npt.NDArray[np.bool_]) -> ElboTerms:
        return ElboTerms(
            int(chosen.sum()),
            reconstruction_floor(likelihood, pixels[chosen]),
            float(reconstruction[chosen].mean()),
            float(kl[chosen].sum(1).mean()),
        )

    return Elbo(
        total=over(np.ones(len(pixels), bool)),
        by_class={} if labels is None else {int(label): over(labels == label) for label in np.unique(labels)},
        kl_per_dimension=tuple(kl.mean(0).tolist()),
        mean_variance=tuple(mean.var(0).tolist()),
    )
