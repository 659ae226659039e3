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
from runtime.noise import component_words, standard_normal
from runtime.prior import Prior
from trainer.model.vae import VAE

Arrays = Sequence[npt.NDArray[Any]]


class Reference:
    """The four graphs in float64 on NumPy arrays. Pixels are integral but also float64."""

    def __init__(self, model: VAE | ForeignVAE, prior: Prior | None = None) -> None:
        """model: in evaluation mode, on the CPU. It is copied. prior: what is sampled from; None for N(0, I)."""
        self.cost = cost_of(model)
        self._model = copy.deepcopy(model).double()
        self.prior = prior

    @property
    def latent_dim(self) -> int:
        """L."""
        return self._model.config.latent_dim

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
        return [_grey_levels(self.reconstruction(pixels))]

    def reconstruction(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """pixels (N, H, W, C) → images (N, C, H, W) in [0, 1], not rounded to grey levels."""
        mean, _ = self.encoder(pixels.transpose(0, 3, 1, 2) / 255)
        image: npt.NDArray[np.float64] = self.decoder(mean)[0]
        return image


def _foreign_image(model: ForeignVAE, z: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """z (N, L) → image (N, C, H, W) in [0, 1]; shapes and values are changed by NumPy, not by the graphs' code."""
    low, high = model.config.value_range
    latents = np.asarray(z, np.float64).reshape(-1, *model.config.latent_shape)
    image = model.decoder(torch.from_numpy(latents)).double().numpy()
    scaled: npt.NDArray[np.float64] = np.clip((image - low) / (high - low), 0, 1)
    return scaled


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
