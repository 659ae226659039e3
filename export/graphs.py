"""The modules behind the exported graphs, small and deterministic, and what they share with `export.mixture`."""

import torch
from torch import Tensor, nn

from export.halves import ForeignDecoder, ForeignEncoder, ForeignVAE
from export.noise import Noise
from trainer.model.vae import VAE


class Decoder(nn.Module):
    """z float32 (N, L) → image float32 (N, C, H, W) in [0, 1]."""

    def __init__(self, model: VAE) -> None:
        super().__init__()
        self.decoder = model.decoder

    def forward(self, z: Tensor) -> Tensor:
        return torch.sigmoid(self.decoder(z))


class Encoder(nn.Module):
    """image float32 (N, C, H, W) in [0, 1] → mean, log_var float32 (N, L) of the posterior q(z|x)."""

    def __init__(self, model: VAE) -> None:
        super().__init__()
        self.encoder = model.encoder
        self.mean = model.mean
        self.log_var = model.log_var

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.encoder(image)
        return self.mean(hidden), self.log_var(hidden)


class Sampler(nn.Module):
    """seed int64 (), index int64 (N,), temperature float32 () → image uint8 (N, H, W, C): noise and decoder."""

    def __init__(self, model: VAE | ForeignVAE) -> None:
        super().__init__()
        self.noise = Noise(model.config.latent_dim)
        self.decoder = decoder_of(model)

    def forward(self, seed: Tensor, index: Tensor, temperature: Tensor) -> Tensor:
        return to_pixels(self.decoder(self.latents(seed, index) * temperature))

    def latents(self, seed: Tensor, index: Tensor) -> Tensor:
        """The latents at temperature 1, float32 (N, L). TorchScript files keep this method for the parity check."""
        latents: Tensor = self.noise(seed, index)
        return latents


class Reconstructor(nn.Module):
    """image uint8 (N, H, W, C) → reconstruction uint8 (N, H, W, C), through the posterior mean."""

    def __init__(self, model: VAE | ForeignVAE) -> None:
        super().__init__()
        self.encoder = encoder_of(model)
        self.decoder = decoder_of(model)

    def forward(self, image: Tensor) -> Tensor:
        mean, _ = self.encoder(image.permute(0, 3, 1, 2).to(torch.float32) / 255.0)
        return to_pixels(self.decoder(mean))


def decoder_of(model: VAE | ForeignVAE) -> nn.Module:
    """The module behind the ports of the decoder."""
    return Decoder(model) if isinstance(model, VAE) else ForeignDecoder(model.decoder, model.config)


def encoder_of(model: VAE | ForeignVAE) -> nn.Module:
    """The module behind the ports of the encoder, which `model` must have."""
    if isinstance(model, VAE):
        return Encoder(model)
    assert model.encoder is not None
    return ForeignEncoder(model.encoder, model.config)


def has_encoder(model: VAE | ForeignVAE) -> bool:
    """Whether there is an encoder; a generator alone has none."""
    return isinstance(model, VAE) or model.encoder is not None


def to_pixels(image: Tensor) -> Tensor:
    """float (N, C, H, W) in [0, 1] → uint8 (N, H, W, C): 255 · x rounded half to even, clipped to 0 … 255."""
    return torch.round(image * 255.0).clamp(0.0, 255.0).to(torch.uint8).permute(0, 2, 3, 1)
