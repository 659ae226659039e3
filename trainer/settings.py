"""The settings of a run, and the presets that name good ones."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from trainer.errors import SettingsError

CHOICES = {
    "network": ("mlp", "conv", "resize-conv", "conv4x4"),
    "activation": ("relu", "tanh", "silu"),
    "likelihood": ("bernoulli", "gaussian", "continuous-bernoulli", "calibrated-gaussian"),
    "bound": ("elbo", "iwae", "dreg"),
    "binarize": ("none", "dynamic", "static-threshold"),
    "schedule": ("constant", "cosine"),
    "precision": ("float32", "bf16"),
    "augment": ("none", "flip"),
}
"""The allowed values of each setting with a choice, the default first."""


@dataclass(frozen=True)
class Settings:
    """All training settings, except data and device. The defaults are those of the preset tutorial."""

    preset: str = "tutorial"
    """Name of the preset that these settings started from."""
    hidden: tuple[int, ...] = (256, 256)
    """Sizes of the encoder's layers (mlp), or channels of its stages (conv)."""
    latent_dim: int = 32
    batch_size: int = 128
    epochs: int = 20
    clip_norm: float | None = 1.0
    """Largest Euclidean norm of the gradient of the batch's summed loss; None means no clipping."""
    learning_rate: float = 1e-3
    beta: float = 1.0
    """Weight of the KL term (Higgins et al. 2017); 1 is a bound on log p(x)."""
    seed: int = 0
    network: str = "mlp"
    """mlp; conv: residual convolutions; and without the checkerboard of conv on photos: resize-conv, the same with a
    decoder that resizes and convolves; conv4x4, one convolution of 4×4 a stage and no residual blocks."""
    batch_norm: bool = False
    activation: str = "relu"
    """relu, tanh or silu (x · σ(x))."""
    likelihood: str = "bernoulli"
    """bernoulli, gaussian (squared error), continuous-bernoulli, or calibrated-gaussian (Gaussian pixels with one
    variance that is learned; needs no β: Rybkin, Daniilidis & Levine 2021)."""
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
    augment: str = "none"
    """none, or flip: each training image is mirrored left to right with probability ½, drawn anew each epoch."""
    average: float = 0.0
    """Decay, per step, of an exponential moving average of the weights; the average is what is tested and saved. 0: no
    average."""
    patience: int = 0
    """Stop when so many epochs in a row have not lowered the test loss; 0: train all epochs."""

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
        if not 0 <= self.average < 1:
            raise SettingsError(f"average should be at least 0 and below 1 but is {self.average}")
        if self.patience < 0:
            raise SettingsError(f"patience should be a number of epochs, or 0 for no limit, but is {self.patience}")
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
    # `adapted` gives it more stages and latents for larger images, enough epochs for `_PHOTO_STEPS`, and a patience of
    # at least `_PHOTO_PATIENT_STEPS`.
    "photo": Settings(
        "photo",
        hidden=(16, 32),
        latent_dim=64,
        batch_size=32,
        epochs=20,
        clip_norm=None,
        learning_rate=4e-3,
        network="conv4x4",
        activation="silu",
        likelihood="calibrated-gaussian",
        schedule="cosine",
        # A horizon of 100 steps, since the shortest runs have but a few hundred by the first preview.
        average=0.99,
    ),
}

_PHOTO_STEPS = 4000  # fewer give brown blobs, however few images there are
# Some thousand photos overfit in half of that: waiting on found no lower test loss, and a shorter cosine a higher one.
_PHOTO_PATIENT_STEPS = 400
_PHOTO_PATIENCE = 5  # epochs at least, however many images there are
_PHOTO_STAGES = (16, 32, 64, 128, 128)  # channels; each stage halves the sides
_PHOTO_LAST_SIDE = 8  # pixels, of the last stage
_GRAY_SIDE = 32  # a small gray image has no need of the photo preset


def preset_for(image_shape: tuple[int, int, int]) -> str:
    """The preset for images (C, H, W) where none is named: photo for colour or sides over 32, otherwise tutorial."""
    channels, height, width = image_shape
    return "photo" if channels == 3 or max(height, width) > _GRAY_SIDE else "tutorial"


def adapted(preset: str, image_shape: tuple[int, int, int], images: int) -> Settings:
    """The settings of a preset for so many training images (C, H, W). Only photo depends on them.

    It takes as many stages as leave 8 pixels a side, 64 latents for sides up to 32 and 128 for larger ones, enough
    epochs for 4,000 steps, and a patience of 400 steps, 5 epochs at least.
    """
    settings = PRESETS[preset]
    if preset != "photo":
        return settings
    side = min(image_shape[1:])
    stages = (
        min(max(1, round(math.log2(side / _PHOTO_LAST_SIDE))), len(_PHOTO_STAGES)) if side > _PHOTO_LAST_SIDE else 1
    )
    steps = math.ceil(images / settings.batch_size)
    return replace(
        settings,
        hidden=_PHOTO_STAGES[:stages],
        latent_dim=settings.latent_dim if side <= _GRAY_SIDE else 2 * settings.latent_dim,
        epochs=max(settings.epochs, math.ceil(_PHOTO_STEPS / steps)),
        patience=max(_PHOTO_PATIENCE, math.ceil(_PHOTO_PATIENT_STEPS / steps)),
    )
