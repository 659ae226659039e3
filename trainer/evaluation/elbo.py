"""The evidence lower bound taken apart: floor, excess and KL, by class and by latent dimension."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainer.model.vae import VAE
from trainer.objective.bound import Objective
from trainer.seeds import generator

_BATCH = 1000  # images at once
_ACTIVE_VARIANCE = 0.01  # Burda et al. 2016, section 5.2
_ACTIVE_KL_NATS = 0.1


@dataclass(frozen=True)
class ElboTerms:
    """Means over some images, in nats per image."""

    images: int
    floor: float | None
    """The least that the reconstruction can be: the entropy of the pixels. None where there is no such limit."""
    reconstruction: float
    """−log p(x | z) for one draw of z from q(z | x)."""
    kl: float

    @property
    def negative_elbo(self) -> float:
        """reconstruction + KL."""
        return self.reconstruction + self.kl


@dataclass(frozen=True)
class Elbo:
    """The bound on a set of images, and how the latent dimensions share in it."""

    total: ElboTerms
    by_class: dict[int, ElboTerms]
    """By label; empty where there are no labels."""
    kl_per_dimension: tuple[float, ...]
    """Mean KL(q(z_d | x) || N(0, 1)) in nats."""
    mean_variance: tuple[float, ...]
    """Variance over images of the posterior mean."""

    @property
    def active_by_variance(self) -> int:
        """Dimensions whose posterior mean has a variance over 0.01 (Burda et al. 2016)."""
        return sum(variance > _ACTIVE_VARIANCE for variance in self.mean_variance)

    @property
    def active_by_kl(self) -> int:
        """Dimensions that carry more than 0.1 nat."""
        return sum(kl > _ACTIVE_KL_NATS for kl in self.kl_per_dimension)


@torch.no_grad()
def measure_elbo(
    model: VAE, image: Tensor, labels: npt.NDArray[np.int64] | None, *, likelihood: str, seed: int = 0
) -> Elbo:
    """The evidence lower bound (β = 1, whatever the model was trained on) with one draw of z for each image.

    image: float32 (N, C, H, W) in [0, 1] on the model's device. labels: (N,). likelihood: a name in `objectives.NLL`.
    """
    objective = Objective("elbo", likelihood, draws=1, beta=1.0, free_bits=0.0)
    noise = torch.randn(
        len(image),
        1,
        model.config.latent_dim,
        device=image.device,
        generator=generator(seed, "evaluation", device=image.device),
    )
    parts = [
        objective.terms(model, image[start : start + _BATCH], noise[start : start + _BATCH])
        for start in range(0, len(image), _BATCH)
    ]
    reconstruction = torch.cat([part.reconstruction for part in parts]).double().cpu().numpy()
    kl = torch.cat([part.kl for part in parts]).double().cpu().numpy()  # (N, L)
    mean = torch.cat([part.mean for part in parts]).double().cpu().numpy()
    floor = _floor(image, likelihood)

    def over(chosen: npt.NDArray[np.bool_]) -> ElboTerms:
        return ElboTerms(
            int(chosen.sum()),
            None if floor is None else float(floor[chosen].mean()),
            float(reconstruction[chosen].mean()),
            float(kl[chosen].sum(1).mean()),
        )

    return Elbo(
        total=over(np.ones(len(image), bool)),
        by_class={} if labels is None else {int(label): over(labels == label) for label in np.unique(labels)},
        kl_per_dimension=tuple(kl.mean(0).tolist()),
        mean_variance=tuple(mean.var(0).tolist()),
    )


def _floor(image: Tensor, likelihood: str) -> npt.NDArray[np.float64] | None:
    """The least reconstruction of each image: (N,)."""
    if likelihood == "continuous-bernoulli":
        return None  # its density on a black or a white pixel has no upper limit
    if likelihood == "gaussian":
        return np.zeros(len(image))
    entropy = torch.special.entr(image) + torch.special.entr(1 - image)
    floors: npt.NDArray[np.float64] = entropy.flatten(1).double().sum(1).cpu().numpy()
    return floors
