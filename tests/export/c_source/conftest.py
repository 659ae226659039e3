"""Small models of every kind that has C source, their networks and their two files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from export.c_source.compact import compact
from export.c_source.emit import Sources
from export.c_source.network import Network, Storage
from export.c_source.write import read_networks, write_c
from export.formats.to_onnx import onnx_bytes, to_onnx
from export.specs import graphs_of
from runtime.manifest import C_HEADER_NAME, C_SOURCE_NAME, Metadata
from runtime.noise import NOISE_VERSION
from trainer.model.vae import VAE, ModelConfig, build_model

CONFIGS = {
    "mlp": ModelConfig((1, 8, 6), (11,), 3),
    "deep colour mlp": ModelConfig((3, 5, 7), (70, 17), 6, batch_norm=True, activation="tanh"),
    "colour conv": ModelConfig((3, 13, 10), (5, 18), 4, network="conv", batch_norm=True),
    "tanh conv": ModelConfig((1, 9, 9), (35,), 21, network="conv", activation="tanh"),
    "photo": ModelConfig((3, 13, 10), (6, 18), 5, network="conv4x4", activation="silu"),
    "resized": ModelConfig((3, 9, 10), (5, 7), 4, network="resize-conv", batch_norm=True, activation="silu"),
}
FOREIGN = "foreign layers"
"""A model with layers that no model of this project has: its activations are replaced by normalised ones."""
FOREIGN_CONFIG = ModelConfig((3, 9, 10), (6, 12), 4, network="resize-conv", activation="silu")


@dataclass(frozen=True)
class Written:
    """A model and its C source."""

    model: VAE
    metadata: Metadata
    decoder: Network
    encoder: Network
    sources: Sources

    @property
    def files(self) -> dict[str, bytes]:
        return {C_HEADER_NAME: self.sources.header.encode(), C_SOURCE_NAME: self.sources.source.encode()}

    def save(self, folder: Path) -> Path:
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
        return folder


@cache
def write(name: str, storage: Storage = "float32") -> Written:
    """The C source of a model of CONFIGS or of FOREIGN, its networks with weights in that storage."""
    config = CONFIGS.get(name, FOREIGN_CONFIG)
    model = random_model(config)
    if name == FOREIGN:
        replace_activations(model)
    metadata = Metadata("0" * 16, NOISE_VERSION, config.latent_dim, config.image_shape, {"architecture": name})
    decoder, encoder = (onnx_bytes(to_onnx(spec, metadata)) for spec in graphs_of(model)[:2])
    networks = read_networks(decoder, encoder)
    assert networks[1] is not None
    if storage != "float32":
        networks = compact(networks[0], storage), compact(networks[1], storage)
    assert networks[1] is not None
    return Written(model, metadata, networks[0], networks[1], write_c(networks, metadata))


def random_model(config: ModelConfig) -> VAE:
    """Evaluation mode; nothing at the value that it is initialised to, statistics of batch normalisation included."""
    model = build_model(config, 0).eval()
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("running_var"):
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=random))
            elif tensor.is_floating_point():
                scale = 1.5 / np.sqrt(tensor[0].numel()) if tensor.ndim > 1 else 0.3
                tensor.copy_(
                    torch.randn(tensor.shape, generator=random) * scale + (tensor.ndim == 1 and "2.weight" in name)
                )
    return model


def replace_activations(model: nn.Module) -> None:
    """Each SiLU becomes a group normalisation with GELU and ELU in turn."""
    torch.manual_seed(2)
    count = 0
    for parent in list(model.modules()):
        channels = 0
        for name, layer in list(parent.named_children()):
            channels = getattr(layer, "out_channels", channels)
            if isinstance(layer, nn.SiLU) and channels:
                norm = nn.GroupNorm(3, channels)
                nn.init.uniform_(norm.weight, 0.5, 2)
                nn.init.normal_(norm.bias)
                count += 1
                setattr(parent, name, nn.Sequential(norm, nn.GELU() if count % 2 else nn.ELU()))
    assert count >= 2
    model.eval()


@pytest.fixture(scope="session")
def written() -> Callable[..., Written]:
    """A function from a name in CONFIGS, and a storage of the weights, to its C source, made once."""
    return write
