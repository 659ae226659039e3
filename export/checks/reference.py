"""What the exported graphs should compute: the model in float64 and the noise of NumPy, none of it from the graphs."""

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
    """The four graphs in float64, on NumPy arrays; pixels are rounded but keep that type."""

    def __init__(self, model: VAE) -> None:
        """model: in evaluation mode, on the CPU; it is copied."""
        self._model = copy.deepcopy(model).double()

    def run(self, graph: str, inputs: Arrays) -> Arrays:
        """Outputs of a graph, in its order, for inputs in its order."""
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
        """Seed, indices (N,) and temperature → pixels (N, H, W, C), whole numbers."""
        z = standard_normal(int(seed), index, self._model.config.latent_dim) * temperature
        return [_to_pixels(self.decoder(z)[0])]

    def reconstructor(self, pixels: npt.NDArray[np.uint8]) -> Arrays:
        """Pixels (N, H, W, C) → pixels (N, H, W, C), whole numbers."""
        mean, _ = self.encoder(pixels.transpose(0, 3, 1, 2) / 255)
        return [_to_pixels(self.decoder(mean)[0])]


def _to_pixels(image: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    pixels: npt.NDArray[np.float64] = np.rint(image * 255).transpose(0, 2, 3, 1)
    return pixels
