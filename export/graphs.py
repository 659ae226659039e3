"""The graphs that are exported: each a small, deterministic module, with its inputs and outputs described."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from runtime.manifest import Port
from trainer.model import VAE

EXAMPLE_BATCH = 2  # an example batch of 1 would be taken for a constant and fixed in the graph


class Decoder(nn.Module):
    """z float32 (N, L) → image float32 (N, C, H, W) in [0, 1]."""

    def __init__(self, model: VAE) -> None:
        super().__init__()
        self.decoder = model.decoder

    def forward(self, z: Tensor) -> Tensor:
        return torch.sigmoid(self.decoder(z))


class Encoder(nn.Module):
    """image float32 (N, C, H, W) in [0, 1] → mean, log_var float32 (N, L): the distribution, not a draw from it."""

    def __init__(self, model: VAE) -> None:
        super().__init__()
        self.encoder = model.encoder
        self.mean = model.mean
        self.log_var = model.log_var

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.encoder(image)
        return self.mean(hidden), self.log_var(hidden)


@dataclass(frozen=True)
class GraphSpec:
    """A graph to export."""

    name: str
    module: nn.Module
    """In evaluation mode, on the CPU."""
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    def example_inputs(self) -> tuple[Tensor, ...]:
        """Inputs of batch 2 to trace with."""
        return tuple(
            torch.zeros([EXAMPLE_BATCH if size == "N" else int(size) for size in port.shape]) for port in self.inputs
        )


def graphs_of(model: VAE) -> tuple[GraphSpec, ...]:
    """The graphs of a model. `model`, in evaluation mode and on the CPU, shares its weights with them."""
    z = Port("z", "float32", ("N", model.config.latent_dim), None)
    image = Port("image", "float32", ("N", *model.config.image_shape), (0, 1))
    mean = Port("mean", "float32", ("N", model.config.latent_dim), None)
    log_var = Port("log_var", "float32", ("N", model.config.latent_dim), None)
    return (
        GraphSpec("decoder", Decoder(model).eval(), inputs=(z,), outputs=(image,)),
        GraphSpec("encoder", Encoder(model).eval(), inputs=(image,), outputs=(mean, log_var)),
    )
