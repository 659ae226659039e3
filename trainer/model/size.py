"""How much memory a model needs, worked out before it is built."""

from __future__ import annotations

import torch

from runtime.machine.memory import shortage
from trainer.errors import SettingsError
from trainer.model.vae import VAE, ModelConfig

WEIGHT_BYTES = 4
TRAINING_BYTES = 20
"""Of one weight in training: the model, its copy in one vector, its gradient, and two moments of Adam, float32 each."""


def count_weights(config: ModelConfig) -> int:
    """Numbers in all parameters and buffers of the model, which is built without memory for that.

    Raises SettingsError where they are more than can be counted.
    """
    try:
        with torch.device("meta"):
            return sum(tensor.numel() for tensor in VAE(config).state_dict().values())
    except (RuntimeError, OverflowError, TypeError):  # a side over 2**63, or a product of two
        raise SettingsError(
            f"hidden {','.join(map(str, config.hidden))} and latent_dim {config.latent_dim} make more weights than "
            "any memory holds; choose fewer"
        ) from None


def check_fits(config: ModelConfig, bytes_per_weight: int) -> None:
    """Raise SettingsError, with the estimate, where the model does not fit into the memory that is available here."""
    weights = count_weights(config)
    lack = shortage(weights * bytes_per_weight)
    if lack is not None:
        raise SettingsError(
            f"a model with hidden {','.join(map(str, config.hidden))} and latent_dim {config.latent_dim} has "
            f"{weights:,} weights, which need {lack}; choose smaller --hidden or --latent-dim"
        )
