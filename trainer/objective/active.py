"""Active latent dimensions: the two usual criteria with their thresholds."""

from collections.abc import Iterable

ACTIVE_VARIANCE = 0.01
"""A dimension is active if its posterior mean varies over images by more than this (Burda et al. 2016, section 5.2)."""
ACTIVE_KL_NATS = 0.1
"""A dimension is active if its KL to the prior, averaged over images, exceeds this (Vahdat & Kautz 2020)."""


def count_active_by_variance(mean_variance: Iterable[float]) -> int:
    """Number of active dimensions. mean_variance: variance over images of each dimension's posterior mean."""
    return sum(variance > ACTIVE_VARIANCE for variance in mean_variance)


def count_active_by_kl(kl_nats: Iterable[float]) -> int:
    """Number of active dimensions. kl_nats: KL of each dimension, averaged over images."""
    return sum(kl > ACTIVE_KL_NATS for kl in kl_nats)
