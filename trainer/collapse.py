"""The collapse watch: says when a latent dimension, or the whole posterior, stops carrying anything about the image."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.checkpoint import EpochMetrics
from trainer.settings import Settings

_ALIVE, _DEAD = 0.1, 0.01  # nats of KL: what counts as active in Vahdat & Kautz 2020, and a tenth of it
_PATIENCE = 3  # epochs in which a fresh model may find its first active dimension


def collapse_warning(history: Sequence[EpochMetrics], settings: Settings) -> str | None:
    """One line on what the newest epoch lost, with the option that cures it; None where nothing was lost.

    The whole posterior is reported when its last active dimension is lost, or when none has come to life by the third
    epoch; a dimension in the epoch in
    which its KL falls below 0.01 nat after having been over 0.1.
    """
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
    lost = [
        dimension
        for dimension, kl in enumerate(newest.test_kl_per_dimension)
        if kl < _DEAD
        and any(earlier.test_kl_per_dimension[dimension] > _ALIVE for earlier in history[:-1])
        and history[-2].test_kl_per_dimension[dimension] >= _DEAD
    ]
    if not lost:
        return None
    which = f"dimension {lost[0]} has" if len(lost) == 1 else f"dimensions {', '.join(map(str, lost))} have"
    return f"latent {which} collapsed, KL under {_DEAD:g} nat; {_cure(settings)}"


def _cure(settings: Settings) -> str:
    if settings.beta > 1:
        return "try a lower --beta, or --free-bits 0.5"
    if settings.free_bits == 0 and settings.bound == "elbo":
        return "try --free-bits 0.5" + ("" if settings.kl_warmup else " or --kl-warmup 5")
    return "try a longer --kl-warmup or a smaller --latent-dim"
