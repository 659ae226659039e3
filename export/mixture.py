"""The sampler of a model with a fitted prior, as modules for export: the prior contract of `runtime.prior`."""

from typing import Final

import torch
from torch import Tensor, nn

from export.graphs import decoder_of, to_pixels
from export.halves import ForeignVAE
from export.noise import Noise
from runtime.noise import COMPONENT_STREAM
from runtime.prior import Prior
from trainer.model.vae import VAE


class MixtureNoise(Noise):
    """seed int64 (), index int64 (N,) → normal noise float32 (N, L), and the words that choose components, int64 (N,).

    One pass of Philox gives both: the words are a last block, of another stream. `Noise.forward` is repeated here
    rather than shared, because the graphs of samplers without a mixture are published files: their bytes must not
    change.
    """

    low: Final[int] = Noise.low  # type: ignore[misc]  # TorchScript does not inherit constants
    half_word: Final[int] = Noise.half_word  # type: ignore[misc]
    streams: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__(latent_dim)
        count = len(self.blocks)
        self.register_buffer("streams", torch.tensor([*[0] * count, COMPONENT_STREAM])[:, None])  # (blocks + 1, 1)
        self.blocks = torch.tensor([*range(count), 0])[:, None]

    def forward(self, seed: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        keys0 = (((seed & self.low) + self.steps0) & self.low).split(1)
        keys1 = (((seed >> 32) + self.steps1) & self.low).split(1)
        counter = index[None, :]  # (1, N)
        c0, c1, c2, c3 = counter & self.low, counter >> 32, self.blocks, self.streams
        for key0, key1 in zip(keys0, keys1):  # noqa: B905 (TorchScript does not know `strict`)
            product0, product1 = c0 * self.multiplier0, c2 * self.multiplier1
            c0, c1 = ((product1 >> 32) ^ (c1 ^ key0)) & self.low, product1
            c2, c3 = ((product0 >> 32) ^ (c3 ^ key1)) & self.low, product0
        words = torch.cat([c0, c1, c2, c3], dim=1).view(4 * len(self.blocks), -1)
        normal_words = words[: self.latent_dim]  # (L, N)
        low = torch.index_select(self.table, 0, (normal_words & self.half_word).flatten())
        high = torch.index_select(self.table, 0, ((normal_words >> 16) & self.half_word).flatten())
        normal = (low + high) * self.sqrt_half
        return normal.view(self.latent_dim, -1).t(), words[4 * (len(self.blocks) - 1)]


class MixtureSampler(nn.Module):
    """seed int64 (), index int64 (N,), temperature float32 () → image uint8 (N, H, W, C): data without classes."""

    half_word: Final[int] = 0xFFFF
    thresholds: Tensor
    aliases: Tensor
    shift: Tensor
    scale: Tensor

    def __init__(self, model: VAE | ForeignVAE, prior: Prior) -> None:
        super().__init__()
        self.noise = MixtureNoise(model.config.latent_dim)
        self.decoder = decoder_of(model)
        self.slots, self.slot_shift = prior.slots, prior.slot_shift
        self.register_buffer("thresholds", torch.from_numpy(prior.thresholds.astype("int64")).flatten())  # (rows · S,)
        self.register_buffer("aliases", torch.from_numpy(prior.aliases.astype("int64")).flatten())
        self.register_buffer("shift", torch.from_numpy(prior.shift.copy()))  # (K, L)
        self.register_buffer("scale", torch.from_numpy(prior.scale.copy()))

    def forward(self, seed: Tensor, index: Tensor, temperature: Tensor) -> Tensor:
        normal, word = self.noise(seed, index)
        return to_pixels(self.decoder(self.move(normal * temperature, self.component(word))))

    @torch.jit.export
    def latents(self, seed: Tensor, index: Tensor) -> Tensor:
        """Latents at temperature 1, float32 (N, L). TorchScript files keep this method too."""
        normal, word = self.noise(seed, index)
        return self.move(normal, self.component(word))

    def component(self, word: Tensor) -> Tensor:
        """Random words int64 (N,), 0 … 2**32 - 1 → components int64 (N,). TorchScript files keep this method too."""
        slot = word >> self.slot_shift
        return self.choose(word, slot, slot)

    def choose(self, word: Tensor, slot: Tensor, place: Tensor) -> Tensor:
        """place: of the slot in the tables."""
        own = (word & self.half_word) < torch.index_select(self.thresholds, 0, place)
        return torch.where(own, slot, torch.index_select(self.aliases, 0, place))

    def move(self, noise: Tensor, component: Tensor) -> Tensor:
        """Noise (N, L), already times the temperature, to the places of its components (N,): (N, L)."""
        shift = torch.index_select(self.shift, 0, component)
        return (noise + shift) * torch.index_select(self.scale, 0, component)


class LabelledMixtureSampler(MixtureSampler):
    """seed (), index (N,), temperature (), label int64 (N,), -1 for any class → image uint8 (N, H, W, C)."""

    half_word: Final[int] = MixtureSampler.half_word  # type: ignore[misc]

    def forward(self, seed: Tensor, index: Tensor, temperature: Tensor, label: Tensor) -> Tensor:  # type: ignore[override]
        normal, word = self.noise(seed, index)
        return to_pixels(self.decoder(self.move(normal * temperature, self.component(word, label))))

    @torch.jit.export
    def latents(self, seed: Tensor, index: Tensor, label: Tensor) -> Tensor:  # type: ignore[override]
        """Latents at temperature 1, float32 (N, L). TorchScript files keep this method too."""
        normal, word = self.noise(seed, index)
        return self.move(normal, self.component(word, label))

    def component(self, word: Tensor, label: Tensor) -> Tensor:  # type: ignore[override]
        """Random words int64 (N,) and labels int64 (N,) → components int64 (N,). TorchScript files keep this too."""
        slot = word >> self.slot_shift
        return self.choose(word, slot, (label + 1) * self.slots + slot)
