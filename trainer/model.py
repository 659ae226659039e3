"""The variational autoencoder (Kingma & Welling 2014): two small networks and the noise between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from trainer.errors import SettingsError


@dataclass(frozen=True)
class ModelConfig:
    """Enough to rebuild a model without its weights."""

    image_shape: tuple[int, int, int]
    """Channels, height, width."""
    hidden: tuple[int, ...]
    """Sizes of the encoder's hidden layers; the decoder has the same in reverse."""
    latent_dim: int

    def __post_init__(self) -> None:
        channels, height, width = self.image_shape
        if channels not in (1, 3) or min(height, width) < 1:
            raise SettingsError(f"image_shape should be (1 or 3, height, width) but is {self.image_shape}")
        if not self.hidden or min(self.hidden) < 1:
            raise SettingsError(f"hidden should be one or more sizes of at least 1 but is {self.hidden}")
        if self.latent_dim < 1:
            raise SettingsError(f"latent_dim should be at least 1 but is {self.latent_dim}")

    @property
    def pixels(self) -> int:
        """Numbers in one image."""
        return math.prod(self.image_shape)


class VAE(nn.Module):
    """Gaussian encoder q(z|x), Bernoulli decoder p(x|z), standard normal prior.

    Images are float32 (N, C, H, W) in [0, 1], latents float32 (N, latent_dim).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        # (N, C, H, W) → (N, hidden): what the two heads share.
        self.encoder = nn.Sequential(nn.Flatten(), *_mlp([config.pixels, *config.hidden]))
        self.mean = nn.Linear(config.hidden[-1], config.latent_dim)
        self.log_var = nn.Linear(config.hidden[-1], config.latent_dim)
        # (N, latent_dim) → (N, C, H, W): logits.
        self.decoder = nn.Sequential(
            *_mlp([config.latent_dim, *reversed(config.hidden)]),
            nn.Linear(config.hidden[0], config.pixels),
            nn.Unflatten(1, config.image_shape),
        )

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|image), (N, latent_dim) each."""
        hidden = self.encoder(image)
        return self.mean(hidden), self.log_var(hidden)

    def reparameterize(self, mean: Tensor, log_var: Tensor, noise: Tensor | None = None) -> Tensor:
        """z = mean + exp(log_var / 2) · noise, (N, latent_dim): Kingma & Welling 2014, section 2.4.

        noise: standard normal; drawn here where it is None and the model is in training mode. In evaluation mode None
        means no noise, and z is the mean.
        """
        if noise is None:
            if not self.training:
                return mean
            noise = torch.randn_like(mean)
        return torch.addcmul(mean, torch.exp(0.5 * log_var), noise)

    def decode_logits(self, z: Tensor) -> Tensor:
        """Logits of the pixel probabilities, (N, C, H, W): what training uses, since sigmoid saturates."""
        logits: Tensor = self.decoder(z)
        return logits

    def decode(self, z: Tensor) -> Tensor:
        """Pixel probabilities in [0, 1], (N, C, H, W)."""
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
        """Layer sizes from pixels to latent, as in 784-256-256-32."""
        return "-".join(map(str, (self.config.pixels, *self.config.hidden, self.config.latent_dim)))


def build_model(config: ModelConfig, seed: int) -> VAE:
    """A model with fresh weights that depend on `seed` alone; torch's global random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VAE(config)


def _mlp(sizes: Sequence[int]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return layers
