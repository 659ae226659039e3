"""Active latent dimensions: the two usual criteria, each with its threshold, in one place."""

from collections.abc import Iterable

ACTIVE_VARIANCE = 0.01
"""A dimension is active if its posterior mean varies over images by more than this (Burda et al. 2016, section 5.2)."""
ACTIVE_KL_NATS = 0.1
"""A dimension is active if its KL to the prior, averaged over images, exceeds this (Vahdat & Kautz 2020)."""


def count_active_by_variance(mean_variance: Iterable[float]) -> int:
    """How many dimensions have a variance of the posterior mean over ACTIVE_VARIANCE; one value per dimension."""
    return sum(variance > ACTIVE_VARIANCE for variance in mean_variance)


def count_active_by_kl(kl_nats: Iterable[float]) -> int:
    """How many dimensions have a KL over ACTIVE_KL_NATS; one value per dimension, the mean over images."""
    return sum(kl > ACTIVE_KL_NATS for kl in kl_nats)
