"""The reference of the parity check: the model in float64 with noise from NumPy, independent of the graphs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from export.checks.cost import cost_of
from export.graphs import has_encoder
from export.halves import ForeignVAE
from runtime.noise import standard_normal
from trainer.model.vae import VAE

Arrays = Sequence[npt.NDArray[Any]]


class Reference:
    """The four graphs in float64 on NumPy arrays. Pixels are integral but also float64."""

    def __init__(self, model: VAE | ForeignVAE) -> None:
        """model: in evaluation mode, on the CPU. It is copied."""
        self.cost = cost_of(model)
        self._model = copy.deepcopy(model).double()

    @property
    def has_encoder(self) -> bool:
        """Whether the model has one."""
        return has_encoder(self._model)

    def run(self, graph: str, inputs: Arrays) -> Arrays:
        """Run the graph of that name. inputs and outputs are in the order of its `GraphSpec`."""
        graphs: dict[str, Callable[..., Arrays]] = {
            "decoder": self.decoder,
            "encoder": self.encoder,
            "sampler": self.sampler,
            "reconstructor": self.reconstructor,
        }
        return graphs[graph](*inputs)

    def decoder(self, z: npt.NDArray[np.float32]) -> Arrays:
        """z (N, L) → image (N, C, H, W) in [0, 1]."""
        return self._in_parts(self._decode, z)

    def encoder(self, image: npt.NDArray[Any]) -> Arrays:
        """image (N, C, H, W) in [0, 1] → mean, log_var (N, L)."""
        return self._in_parts(self._encode, image)

    def _in_parts(self, run: Callable[[npt.NDArray[Any]], Arrays], given: npt.NDArray[Any]) -> Arrays:
        """Run rows in parts whose activations fit into memory."""
        rows = self.cost.rows
        parts = [run(given[start : start + rows]) for start in range(0, max(1, len(given)), rows)]
        return parts[0] if len(parts) == 1 else [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]

    @torch.no_grad()
    def _decode(self, z: npt.NDArray[Any]) -> Arrays:
        if isinstance(self._model, ForeignVAE):
            return [_foreign_image(self._model, z)]
        return [self._model.decode(torch.from_numpy(z).double()).numpy()]

    @torch.no_grad()
    def _encode(self, image: npt.NDArray[Any]) -> Arrays:
        if isinstance(self._model, ForeignVAE):
            return _foreign_posterior(self._model, image)
        mean, log_var = self._model.encode(torch.from_numpy(image).double())
        return [mean.numpy(), log_var.numpy()]

    def sampler(
        self, seed: npt.NDArray[np.int64], index: npt.NDArray[np.int64], temperature: npt.NDArray[np.float32]
    ) -> Arrays:
        """seed (), index (N,), temperature () → pixels (N, H, W, C), integers from 0 to 255."""
        z = standard_normal(int(seed), index, self._model.config.latent_dim) * temperature
        return [_grey_levels(self.decoder(z)[0])]

    def reconstructor(self, pixels: npt.NDArray[np.uint8]) -> Arrays:
        """pixels (N, H, W, C) → pixels (N, H, W, C), integers from 0 to 255."""
        mean, _ = self.encoder(pixels.transpose(0, 3, 1, 2) / 255)
        return [_grey_levels(self.decoder(mean)[0])]


def _foreign_image(model: ForeignVAE, z: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """z (N, L) → image (N, C, H, W) in [0, 1]; shapes and values are changed by NumPy, not by the graphs' code."""
    low, high = model.config.value_range
    latents = np.asarray(z, np.float64).reshape(-1, *model.config.latent_shape)
    image = model.decoder(torch.from_numpy(latents)).double().numpy()
    return np.clip((image - low) / (high - low), 0, 1)


def _foreign_posterior(model: ForeignVAE, image: npt.NDArray[Any]) -> Arrays:
    """image (N, C, H, W) in [0, 1] → mean, log_var (N, L)."""
    assert model.encoder is not None
    low, high = model.config.value_range
    values = low + np.asarray(image, np.float64) * (high - low)
    return [output.double().numpy().reshape(len(values), -1) for output in model.encoder(torch.from_numpy(values))]


def _grey_levels(image: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """image (N, C, H, W) in [0, 1] → grey levels (N, H, W, C): 255 · x rounded half to even, still float64."""
    pixels: npt.NDArray[np.float64] = np.rint(image * 255).transpose(0, 2, 3, 1)
    return pixels
