"""The variational autoencoder (Kingma & Welling 2014): two small networks and the noise between them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from trainer.errors import SettingsError
from trainer.model.networks import conv_decoder, conv_encoder, feature_count, mlp_decoder, mlp_encoder
from trainer.settings import CHOICES, Settings

_LOG_ROUNDING_VARIANCE = -math.log(12 * 255**2)  # of the error of rounding to 256 levels, uniform
_VARIANCE_SPEED = 10.0  # Adam changes every parameter by about its rate; log σ² has to fall by 3 in some hundred steps
_OUTPUT_LAYERS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
_MOST_LAYERS = 100


@dataclass(frozen=True)
class ModelConfig:
    """The architecture of a model: what is needed to rebuild it, except the weights."""

    image_shape: tuple[int, int, int]
    """Channels, height, width."""
    hidden: tuple[int, ...]
    """Sizes of the encoder's hidden layers, or channels of its stages; the decoder uses them in reverse order."""
    latent_dim: int
    network: str = "mlp"
    """mlp: fully connected. conv: residual convolutions; each stage halves height and width. resize-conv: the same, but
    the decoder resizes and convolves. conv4x4: one convolution of 4×4 a stage, and no residual blocks."""
    batch_norm: bool = False
    """Batch normalisation before every activation."""
    activation: str = "relu"
    """relu, tanh or silu."""
    pixel_variance: bool = False
    """Whether the model has a pixel variance of its own, see `VAE.log_variance`."""

    def __post_init__(self) -> None:
        channels, height, width = self.image_shape
        if channels not in (1, 3) or min(height, width) < 1:
            raise SettingsError(f"image_shape should be (1 or 3, height, width) but is {self.image_shape}")
        if not self.hidden or min(self.hidden) < 1:
            raise SettingsError(f"hidden should be one or more sizes of at least 1 but is {self.hidden}")
        if len(self.hidden) > _MOST_LAYERS:
            raise SettingsError(f"hidden should be at most {_MOST_LAYERS} sizes but is {len(self.hidden)}")
        if self.latent_dim < 1:
            raise SettingsError(f"latent_dim should be at least 1 but is {self.latent_dim}")
        for name in ("network", "activation"):
            if getattr(self, name) not in CHOICES[name]:
                raise SettingsError(f"{name} should be {' or '.join(CHOICES[name])} but is {getattr(self, name)!r}")
        for name in ("batch_norm", "pixel_variance"):
            if type(getattr(self, name)) is not bool:
                raise SettingsError(f"{name} should be true or false but is {getattr(self, name)!r}")
        if self.is_convolutional and min(height, width) < 2 ** len(self.hidden):
            needed = 2 ** len(self.hidden)
            raise SettingsError(
                f"{len(self.hidden)} convolutional stages need images of at least {needed} pixels a side "
                f"but these are {height}×{width}; give fewer channels with --hidden, or --network mlp"
            )

    @classmethod
    def of(cls, settings: Settings, image_shape: tuple[int, int, int]) -> ModelConfig:
        """The model that a run trains."""
        return cls(
            image_shape,
            settings.hidden,
            settings.latent_dim,
            settings.network,
            settings.batch_norm,
            settings.activation,
            settings.likelihood == "calibrated-gaussian",
        )

    @property
    def is_convolutional(self) -> bool:
        """Whether encoder and decoder are convolutions."""
        return self.network != "mlp"

    @property
    def pixels(self) -> int:
        """Number of values in one image: channels · height · width."""
        return math.prod(self.image_shape)


class VAE(nn.Module):
    """Gaussian encoder q(z|x), decoder p(x|z) with one logit per pixel value, standard normal prior.

    Images are float32 (N, C, H, W) in [0, 1], latents float32 (N, latent_dim).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        shape, hidden, network = config.image_shape, config.hidden, config.network
        style = (config.activation, config.batch_norm)
        features = feature_count(shape, hidden, network)
        # (N, C, H, W) → (N, features), the input of both heads.
        self.encoder = (
            conv_encoder(shape, hidden, *style, network)
            if config.is_convolutional
            else mlp_encoder(shape, hidden, *style)
        )
        self.mean = nn.Linear(features, config.latent_dim)
        self.log_var = nn.Linear(features, config.latent_dim)
        # (N, latent_dim) → (N, C, H, W): logits.
        self.decoder = (
            conv_decoder(config.latent_dim, hidden, shape, *style, network)
            if config.is_convolutional
            else mlp_decoder(config.latent_dim, hidden, shape, *style)
        )
        # (1,): the learned number behind `log_variance`; only a model that was trained with one has it.
        self.variance = nn.Parameter(torch.zeros(1)) if config.pixel_variance else None

    @property
    def log_variance(self) -> Tensor | None:
        """Log of the variance σ² of all pixels around the decoded image, (1,); None in a model without one.

        σ² is learned with the weights and never falls under that of rounding to 256 levels (σ-VAE: Rybkin,
        Daniilidis & Levine 2021, section 3.1).
        """
        if self.variance is None:
            return None
        return _LOG_ROUNDING_VARIANCE + nn.functional.softplus(_VARIANCE_SPEED * self.variance - _LOG_ROUNDING_VARIANCE)

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|image), (N, latent_dim) each."""
        hidden = self.encoder(image)
        return self.mean(hidden), self.log_var(hidden)

    def reparameterize(self, mean: Tensor, log_var: Tensor, noise: Tensor | None = None) -> Tensor:
        """z = mean + exp(log_var / 2) · noise, (N, latent_dim): Kingma & Welling 2014, section 2.4.

        noise: standard normal, (N, latent_dim). If None, it is drawn in training mode, and in evaluation mode z is the
        mean.
        """
        if noise is None:
            if not self.training:
                return mean
            noise = torch.randn_like(mean)
        return torch.addcmul(mean, torch.exp(0.5 * log_var), noise)

    def decode_logits(self, z: Tensor) -> Tensor:
        """Logits of the image, (N, C, H, W). Likelihoods take these, because sigmoid outputs saturate."""
        logits: Tensor = self.decoder(z)
        return logits

    def decode(self, z: Tensor) -> Tensor:
        """The decoded image, (N, C, H, W) in [0, 1]: the sigmoid of the logits, for every likelihood.

        A value is the pixel's probability (Bernoulli), its mean (Gaussian), or the parameter λ (continuous Bernoulli;
        the mean is closer to 0.5 than λ).
        """
        return torch.sigmoid(self.decode_logits(z))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruction (N, C, H, W), mean and log-variance (N, latent_dim)."""
        mean, log_var = self.encode(image)
        return self.decode(self.reparameterize(mean, log_var)), mean, log_var

    @torch.no_grad()
    def sample(self, num: int, *, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """`num` images from the prior, (num, C, H, W) in [0, 1], on the model's device.

        temperature: standard deviation of the latents. generator: on the same device; None means the global one.
        """
        z = torch.randn(num, self.config.latent_dim, device=self.mean.weight.device, generator=generator)
        return self.decode(z * temperature)

    @property
    def architecture(self) -> str:
        """Layer sizes from pixels to latent, as in 784-256-256-32 or conv-784-32-64-128-32."""
        sizes = "-".join(map(str, (self.config.pixels, *self.config.hidden, self.config.latent_dim)))
        marks = ["tanh"] * (self.config.activation == "tanh") + ["batch norm"] * self.config.batch_norm
        return " ".join([(f"{self.config.network}-" if self.config.is_convolutional else "") + sizes, *marks])


def build_model(config: ModelConfig, seed: int) -> VAE:
    """A newly initialised model. Its weights depend only on `seed`; torch's global random state is not changed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VAE(config)


@torch.no_grad()
def start_at_mean(model: VAE, images: npt.NDArray[np.uint8]) -> None:
    """Set the decoder's output bias to the logit of the mean of `images`, uint8 (N, H, W, C).

    The mean is taken per pixel for a fully connected decoder, and per channel for a convolutional one. It is clipped to
    half a grey level from 0 and 1, because a pixel that is always black would need a bias of −∞. The pixel variance, if
    the model has one, is set to that of the images around this mean.
    """
    mean = torch.tensor(images.mean(axis=0, dtype=np.float64) / 255).permute(2, 0, 1)  # (C, H, W)
    conv = model.config.is_convolutional
    output = [module for module in model.decoder.modules() if isinstance(module, _OUTPUT_LAYERS)][-1]
    bias = output.bias
    assert bias is not None
    bias.copy_(torch.logit(mean.mean(dim=(1, 2)) if conv else mean.flatten(), eps=0.5 / 255))
    if model.variance is not None:
        around = float((images.astype(np.float32) / 255 - mean.permute(1, 2, 0).numpy()).var())
        model.variance.fill_(math.log(max(around, math.exp(_LOG_ROUNDING_VARIANCE))) / _VARIANCE_SPEED)
