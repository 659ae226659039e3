"""Somebody's VAE for 32×32 colour images in [-1, 1]: GroupNorm, SiLU, latents of 4×8×8."""

import torch
from torch import Tensor, nn


class Encoder(nn.Module):
    """Images (N, 3, 32, 32) → mean and log-variance, (N, 4, 8, 8) each."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 4, 2, 1), nn.GroupNorm(4, width), nn.SiLU(),
            nn.Conv2d(width, width, 4, 2, 1), nn.GroupNorm(4, width), nn.SiLU(),
            nn.Conv2d(width, 8, 3, padding=1),
        )  # fmt: skip

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_var = self.layers(image).chunk(2, dim=1)
        return mean, log_var


class MyVAE(nn.Module):
    """An encoder, a decoder, and the two methods that `vae-export --module` calls."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.encoder = Encoder(width)
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(4, width, 4, 2, 1), nn.GroupNorm(4, width), nn.SiLU(),
            nn.ConvTranspose2d(width, width, 4, 2, 1), nn.GroupNorm(4, width), nn.SiLU(),
            nn.Conv2d(width, 3, 3, padding=1), nn.Tanh(),
        )  # fmt: skip

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Images → mean and log-variance."""
        return self.encoder(image)

    def decode(self, z: Tensor) -> Tensor:
        """Latents (N, 4, 8, 8) → images in [-1, 1]."""
        return self.decoder(z)


def build() -> MyVAE:
    """The model; here with weights of seed 0, since it was never trained."""
    torch.manual_seed(0)
    return MyVAE()
