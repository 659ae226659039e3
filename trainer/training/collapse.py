"""Detects posterior collapse: a latent dimension, or all of them, that no longer depends on the image."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.checkpoint import EpochMetrics
from trainer.objective.active import ACTIVE_KL_NATS
from trainer.settings import Settings

_COLLAPSED_KL_NATS = ACTIVE_KL_NATS / 10
_PATIENCE = 3  # epochs after which a new model should have an active dimension


def collapse_warning(history: Sequence[EpochMetrics], settings: Settings) -> str | None:
    """A warning about collapse in the newest epoch, with an option to try; None if there is nothing new to report.

    Collapse of the whole posterior is reported when the last active dimension becomes inactive, or when none is active
    after three epochs. A single dimension has collapsed if its KL falls below 0.01 nat after having exceeded 0.1. This
    is reported only for the first epoch in which it happens, because a model with too many dimensions loses some in
    many epochs; the history records the number of active dimensions. Epochs of the KL warm-up do not count.
    """
    # While the KL weight rises, dimensions are used for less and less; only what is lost at full weight is news.
    history = [metrics for metrics in history if metrics.epoch > settings.kl_warmup]
    if not history:
        return None
    newest = history[-1]
    if newest.active_units == 0:
        before = [metrics.active_units > 0 for metrics in history[:-1]]
        is_news = before[-1:] == [True] or (len(history) == _PATIENCE and not any(before))
        if not is_news:
            return None
        return (
            f"the posterior has collapsed: no latent dimension is active, KL {newest.test_kl:.2g} nats; "
            f"{_cure(settings)}"
        )
    lost = _lost(history)
    if not lost or any(_lost(history[:epochs]) for epochs in range(1, len(history))):
        return None
    which = f"dimension {lost[0]} has" if len(lost) == 1 else f"dimensions {', '.join(map(str, lost))} have"
    return f"latent {which} collapsed, KL under {_COLLAPSED_KL_NATS:g} nat; to keep them all, {_cure(settings)}"


def _lost(history: Sequence[EpochMetrics]) -> list[int]:
    """Dimensions that were active in an earlier epoch and have collapsed in the newest."""
    return [
        dimension
        for dimension, kl in enumerate(history[-1].test_kl_per_dimension)
        if kl < _COLLAPSED_KL_NATS
        and any(earlier.test_kl_per_dimension[dimension] > ACTIVE_KL_NATS for earlier in history[:-1])
    ]


def _cure(settings: Settings) -> str:
    if settings.beta > 1:
        return "try a lower --beta, or --free-bits 0.5"
    if settings.free_bits == 0 and settings.bound == "elbo":
        return "try --free-bits 0.5" + ("" if settings.kl_warmup else " or --kl-warmup 5")
    return "try a longer --kl-warmup or a smaller --latent-dim"
