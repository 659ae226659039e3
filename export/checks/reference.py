"""The reference of the parity check: the model in float64 with noise from NumPy, independent of the graphs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from runtime.noise import standard_normal
from trainer.model.vae import VAE

Arrays = Sequence[npt.NDArray[Any]]


class Reference:
    """The four graphs in float64 on NumPy arrays. Pixels are integral but also float64."""

    def __init__(self, model: VAE) -> None:
        """model: in evaluation mode, on the CPU. It is copied."""
        self._model = copy.deepcopy(model).double()

    def run(self, graph: str, inputs: Arrays) -> Arrays:
        """Run the graph of that name. inputs and outputs are in the order of its `GraphSpec`."""
        graphs: dict[str, Callable[..., Arrays]] = {
            "decoder": self.decoder,
            "encoder": self.encoder,
            "sampler": self.sampler,
            "reconstructor": self.reconstructor,
        }
        return graphs[graph](*inputs)

    @torch.no_grad()
    def decoder(self, z: npt.NDArray[np.float32]) -> Arrays:
        """z (N, L) → image (N, C, H, W) in [0, 1]."""
        return [self._model.decode(torch.from_numpy(z).double()).numpy()]

    @torch.no_grad()
    def encoder(self, image: npt.NDArray[Any]) -> Arrays:
        """image (N, C, H, W) in [0, 1] → mean, log_var (N, L)."""
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


def _grey_levels(image: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """image (N, C, H, W) in [0, 1] → grey levels (N, H, W, C): 255 · x rounded half to even, still float64."""
    pixels: npt.NDArray[np.float64] = np.rint(image * 255).transpose(0, 2, 3, 1)
    return pixels
