"""The settings of a run, and the presets that name good ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

from trainer.errors import SettingsError


@dataclass(frozen=True)
class Settings:
    """Everything that decides how a model is trained, apart from the data and the device."""

    preset: str
    """Name of the preset that these settings started from."""
    hidden: tuple[int, ...]
    latent_dim: int
    batch_size: int
    epochs: int
    clip_norm: float | None
    """Largest Euclidean norm of the gradient of the batch's summed loss; None means no clipping."""
    learning_rate: float = 1e-3
    beta: float = 1.0
    """Weight of the KL term (Higgins et al. 2017); 1 is the evidence lower bound."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("latent_dim", "batch_size", "epochs"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} should be at least 1 but is {getattr(self, name)}")
        if not 0 < self.learning_rate < math.inf:
            raise SettingsError(f"learning_rate should be a positive number but is {self.learning_rate}")
        if not 0 <= self.beta < math.inf:
            raise SettingsError(f"beta should be a number of at least 0 but is {self.beta}")
        if self.clip_norm is not None and not 0 < self.clip_norm < math.inf:
            raise SettingsError(f"clip_norm should be a positive number but is {self.clip_norm}")
        if not 0 <= self.seed < 2**63:
            raise SettingsError(f"seed should be from 0 to 2**63 - 1 but is {self.seed}")


PRESETS = {
    # The network of Kingma & Welling's reference experiments as the PyTorch examples made it popular.
    "kingma": Settings("kingma", hidden=(400,), latent_dim=20, batch_size=32, epochs=10, clip_norm=None),
    # Clipping the summed loss at 1 in fact normalises every gradient; that is how this preset reaches its figures.
    "tutorial": Settings("tutorial", hidden=(256, 256), latent_dim=32, batch_size=128, epochs=20, clip_norm=1.0),
}
