"""The settings of a run, and the presets that name good ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

from trainer.errors import SettingsError

CHOICES = {
    "network": ("mlp", "conv"),
    "activation": ("relu", "tanh"),
    "likelihood": ("bernoulli", "gaussian", "continuous-bernoulli"),
    "bound": ("elbo", "iwae", "dreg"),
    "binarize": ("none", "dynamic", "static-threshold"),
    "schedule": ("constant", "cosine"),
    "precision": ("float32", "bf16"),
}
"""The allowed values of each setting with a choice, the default first."""


@dataclass(frozen=True)
class Settings:
    """All training settings, except data and device."""

    preset: str
    """Name of the preset that these settings started from."""
    hidden: tuple[int, ...]
    """Sizes of the encoder's layers (mlp), or channels of its stages (conv)."""
    latent_dim: int
    batch_size: int
    epochs: int
    clip_norm: float | None
    """Largest Euclidean norm of the gradient of the batch's summed loss; None means no clipping."""
    learning_rate: float = 1e-3
    beta: float = 1.0
    """Weight of the KL term (Higgins et al. 2017); 1 is a bound on log p(x)."""
    seed: int = 0
    network: str = "mlp"
    """mlp, or conv: residual convolutions."""
    batch_norm: bool = False
    activation: str = "relu"
    """relu or tanh."""
    likelihood: str = "bernoulli"
    """bernoulli, gaussian (squared error), or continuous-bernoulli."""
    bound: str = "elbo"
    """elbo, iwae (Burda et al. 2016), or dreg: iwae with the doubly-reparameterised gradient (Tucker et al. 2019)."""
    draws: int = 1
    """Posterior samples z per image in a step: k."""
    binarize: str = "none"
    """none (gray), dynamic (drawn anew each epoch with the gray value as probability), or static-threshold."""
    kl_warmup: float = 0.0
    """Epochs over which the weight of the KL term rises from 0 to beta, linearly."""
    free_bits: float = 0.0
    """KL in nats per latent dimension below which the loss does not decrease further (elbo only)."""
    adam_epsilon: float = 1e-8
    schedule: str = "constant"
    """Learning-rate schedule: constant, or cosine (falls from epoch to epoch along half a cosine, towards 0)."""
    precision: str = "float32"
    """Precision of the matrix products: float32 or bf16; weights, sums and losses stay float32."""

    def __post_init__(self) -> None:
        for name in ("latent_dim", "batch_size", "epochs", "draws"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} should be at least 1 but is {getattr(self, name)}")
        for name in ("learning_rate", "adam_epsilon"):
            if not 0 < getattr(self, name) < math.inf:
                raise SettingsError(f"{name} should be a positive number but is {getattr(self, name)}")
        for name in ("beta", "kl_warmup", "free_bits"):
            if not 0 <= getattr(self, name) < math.inf:
                raise SettingsError(f"{name} should be a number of at least 0 but is {getattr(self, name)}")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise SettingsError(f"{name} should be one of {', '.join(choices)} but is {getattr(self, name)!r}")
        if self.clip_norm is not None and not 0 < self.clip_norm < math.inf:
            raise SettingsError(f"clip_norm should be a positive number but is {self.clip_norm}")
        if not 0 <= self.seed < 2**63:
            raise SettingsError(f"seed should be from 0 to 2**63 - 1 but is {self.seed}")
        if self.free_bits and self.bound != "elbo":
            raise SettingsError(f"free_bits belongs to the elbo; the {self.bound} bound has no KL term")

    def kl_weight(self, epochs_done: float) -> float:
        """Weight of the KL term after `epochs_done` epochs, a fraction allowed."""
        return self.beta * min(1.0, epochs_done / self.kl_warmup) if self.kl_warmup else self.beta

    def learning_rate_in(self, epoch: int) -> float:
        """Learning rate in `epoch`, counted from 1."""
        if self.schedule == "constant":
            return self.learning_rate
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (epoch - 1) / self.epochs))


PRIORS = ("mixture", "normal")
"""What a trained model's samples are drawn from, the default first: a mixture fitted when training ends, or N(0, I)."""

PRESETS = {
    # The network of Kingma & Welling's reference experiments as the PyTorch examples made it popular.
    "kingma": Settings("kingma", hidden=(400,), latent_dim=20, batch_size=32, epochs=10, clip_norm=None),
    # Clipping the summed loss at 1 in fact normalises every gradient; that is how this preset reaches its figures.
    "tutorial": Settings("tutorial", hidden=(256, 256), latent_dim=32, batch_size=128, epochs=20, clip_norm=1.0),
    # About a million parameters, most of them in the stages with the smallest images.
    "conv": Settings(
        "conv",
        hidden=(32, 64, 128),
        latent_dim=32,
        batch_size=128,
        epochs=20,
        clip_norm=None,
        network="conv",
        schedule="cosine",
    ),
}
