"""The reference of the parity check: the model in float64 with noise from NumPy, independent of the graphs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from runtime.noise import component_words, standard_normal
from runtime.prior import Prior
from trainer.model.vae import VAE

Arrays = Sequence[npt.NDArray[Any]]


class Reference:
    """The four graphs in float64 on NumPy arrays. Pixels are integral but also float64."""

    def __init__(self, model: VAE, prior: Prior | None = None) -> None:
        """model: in evaluation mode, on the CPU. It is copied. prior: what is sampled from; None for N(0, I)."""
        self._model = copy.deepcopy(model).double()
        self.prior = prior

    @property
    def latent_dim(self) -> int:
        """L."""
        return self._model.config.latent_dim

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
        self,
        seed: npt.NDArray[np.int64],
        index: npt.NDArray[np.int64],
        temperature: npt.NDArray[np.float32],
        label: npt.NDArray[np.int64] | None = None,
    ) -> Arrays:
        """seed (), index (N,), temperature () and perhaps label (N,) → pixels (N, H, W, C), integers from 0 to 255."""
        return [_grey_levels(self.decoder(self.latents(seed, index, label, temperature))[0])]

    def latents(
        self,
        seed: npt.NDArray[np.int64],
        index: npt.NDArray[np.int64],
        label: npt.NDArray[np.int64] | None = None,
        temperature: npt.NDArray[np.float32] | None = None,
    ) -> npt.NDArray[np.float32]:
        """Latents float32 (N, L) by the definition in `runtime.prior`, not by its code."""
        z = standard_normal(int(seed), index, self._model.config.latent_dim)
        if temperature is not None:
            z = z * temperature
        if self.prior is not None:
            k = self.component(component_words(int(seed), index), label)
            z = (z + self.prior.shift[k]) * self.prior.scale[k]
        return z

    def component(
        self, word: npt.NDArray[np.uint32], label: npt.NDArray[np.int64] | None = None
    ) -> npt.NDArray[np.int64]:
        """Components int64 (N,) of random words uint32 (N,), one by one in Python's integers."""
        assert self.prior is not None
        slots = self.prior.slots
        thresholds, aliases = self.prior.thresholds.tolist(), self.prior.aliases.tolist()
        labels = [-1] * len(word) if label is None else label.tolist()
        chosen = []
        for w, c in zip(word.tolist(), labels, strict=True):
            slot = w * slots // 2**32
            chosen.append(slot if w % 2**16 < thresholds[c + 1][slot] else aliases[c + 1][slot])
        return np.array(chosen, np.int64)

    def reconstructor(self, pixels: npt.NDArray[np.uint8]) -> Arrays:
        """pixels (N, H, W, C) → pixels (N, H, W, C), integers from 0 to 255."""
        mean, _ = self.encoder(pixels.transpose(0, 3, 1, 2) / 255)
        return [_grey_levels(self.decoder(mean)[0])]


def _grey_levels(image: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """image (N, C, H, W) in [0, 1] → grey levels (N, H, W, C): 255 · x rounded half to even, still float64."""
    pixels: npt.NDArray[np.float64] = np.rint(image * 255).transpose(0, 2, 3, 1)
    return pixels
