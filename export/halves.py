"""Somebody else's encoder and decoder, behind the ports of our graphs: flat latents, images in [0, 1].

The file lies below `export.graphs`, whose modules hold it, and `export.source`, which checks what a user gave.
Its path is part of the bytes of TorchScript files.
"""

import contextlib
import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

Adapter = Callable[[Any, Tensor], Any]
"""Module and its input → its output, written by the user where the module's own `forward` does something else."""


@dataclass(frozen=True)
class ForeignConfig:
    """What is declared of a foreign model; `latent_dim` and `image_shape` as in `trainer.model.vae.ModelConfig`."""

    latent_shape: tuple[int, ...]
    """Of one latent as the decoder takes it, such as (4, 8, 8)."""
    image_shape: tuple[int, int, int]
    """Channels, height, width."""
    value_range: tuple[float, float]
    """What the modules take for black and for white."""

    @property
    def latent_dim(self) -> int:
        """Numbers in one latent."""
        return math.prod(self.latent_shape)


class ForeignDecoder(nn.Module):
    """z float32 (N, L) → image float32 (N, C, H, W) in [0, 1]."""

    def __init__(self, module: nn.Module, config: ForeignConfig) -> None:
        super().__init__()
        self.module = module
        self.latent_shape = list(config.latent_shape)
        self.low, self.size = config.value_range[0], config.value_range[1] - config.value_range[0]

    def forward(self, z: Tensor) -> Tensor:
        image: Tensor = self.module(torch.unflatten(z, 1, self.latent_shape))
        return ((image - self.low) / self.size).clamp(0.0, 1.0)


class ForeignEncoder(nn.Module):
    """image float32 (N, C, H, W) in [0, 1] → mean, log_var float32 (N, L)."""

    def __init__(self, module: nn.Module, config: ForeignConfig) -> None:
        super().__init__()
        self.module = module
        self.low, self.size = config.value_range[0], config.value_range[1] - config.value_range[0]

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_var = self.module(image * self.size + self.low)
        return torch.flatten(mean, 1), torch.flatten(log_var, 1)


class AdaptedModule(nn.Module):
    """A module called through a function of the user. TorchScript cannot script it, so it is traced."""

    def __init__(self, module: nn.Module, adapter: Adapter) -> None:
        super().__init__()
        self.module = module
        self.adapter = adapter

    def forward(self, given: Tensor) -> Any:
        with _distributions_unchecked():
            return self.adapter(self.module, given)


class ForeignVAE(nn.Module):
    """A decoder, and an encoder where there is one, that the trainer of this project did not build."""

    def __init__(self, decoder: nn.Module, encoder: nn.Module | None, config: ForeignConfig) -> None:
        """decoder: latents (N, *latent_shape) → images (N, C, H, W) in value_range. encoder: such images → mean and
        log-variance, (N, *latent_shape) each; None where the model only generates.
        """
        super().__init__()
        self.config = config
        self.decoder = decoder
        self.encoder = encoder
        self.largest_batch: int | None = None
        """The largest batch that the model computes in the same way as one of 2; None where there is none."""

    @property
    def architecture(self) -> str:
        """The classes of the halves and the number of weights, for a person."""
        halves = [half for half in (self.encoder, self.decoder) if half is not None]
        names = [type(half.module if isinstance(half, AdaptedModule) else half).__name__ for half in halves]
        weights = sum({id(parameter): parameter.numel() for parameter in self.parameters()}.values())
        return f"{' and '.join(dict.fromkeys(names))}, {weights:,} weights"

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """image float32 (N, C, H, W) in [0, 1] → mean, log_var float32 (N, L). There must be an encoder."""
        assert self.encoder is not None
        mean, log_var = ForeignEncoder(self.encoder, self.config)(image)
        return mean, log_var

    def in_float64(self) -> "ForeignVAE":
        """A copy in float64."""
        return copy.deepcopy(self).double()


@contextlib.contextmanager
def _distributions_unchecked() -> Iterator[None]:
    """torch.distributions check their arguments with a branch on values, which no traced graph can follow."""
    checked = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(checked)
