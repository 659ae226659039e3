"""Noise version 1 as a PyTorch module in int64 arithmetic, bit-identical to `runtime.noise`, for all export formats."""

from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from runtime.noise import KEY_STEPS, MULTIPLIERS, ROUNDS, SQRT_HALF, normal_table


class Noise(nn.Module):
    """seed int64 (), index int64 (N,) → standard normal latents float32 (N, L) of stream 0, the prior.

    The code minimises operations, because in an exported graph each one is a pass over memory. Products wrap at 64
    bits, as in every engine. A round masks its results to 32 bits only once: until then products keep their high
    halves, and right shifts may extend the sign. Logical and arithmetic shifts therefore give the same result, and a
    format may use either. Samples are the last axis until the end, so that keys and blocks broadcast over long rows.
    """

    low: Final[int] = 0xFFFFFFFF  # TorchScript cannot read module globals
    half_word: Final[int] = 0xFFFF
    table: Tensor
    blocks: Tensor
    steps0: Tensor
    steps1: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        blocks = -(-latent_dim // 4)
        self.register_buffer("table", torch.from_numpy(normal_table().copy()))
        self.register_buffer("blocks", torch.arange(blocks)[:, None])  # (blocks, 1)
        steps = torch.arange(ROUNDS)
        self.register_buffer("steps0", steps * int(KEY_STEPS[0]))  # (ROUNDS,)
        self.register_buffer("steps1", steps * int(KEY_STEPS[1]))
        self.multiplier0, self.multiplier1 = (int(multiplier) for multiplier in MULTIPLIERS)
        self.sqrt_half = float(np.float32(SQRT_HALF))

    def forward(self, seed: Tensor, index: Tensor) -> Tensor:
        keys0 = (((seed & self.low) + self.steps0) & self.low).split(1)
        keys1 = (((seed >> 32) + self.steps1) & self.low).split(1)
        counter = index[None, :]  # (1, N)
        c0, c1, c2 = counter & self.low, counter >> 32, self.blocks
        c3 = torch.zeros_like(self.blocks)  # stream 0: the prior
        for key0, key1 in zip(keys0, keys1):  # noqa: B905 (TorchScript does not support strict)
            product0, product1 = c0 * self.multiplier0, c2 * self.multiplier1
            c0, c1 = ((product1 >> 32) ^ (c1 ^ key0)) & self.low, product1
            c2, c3 = ((product0 >> 32) ^ (c3 ^ key1)) & self.low, product0
        # Word j of block b is latent 4 b + j, so each row of (blocks, 4 N) is split into four rows of N. torch 2.11
        # cannot trace the obvious stack and flatten with a dynamic batch.
        words = torch.cat([c0, c1, c2, c3], dim=1).view(4 * len(self.blocks), -1)[: self.latent_dim]  # (L, N)
        low = torch.index_select(self.table, 0, (words & self.half_word).flatten())
        high = torch.index_select(self.table, 0, ((words >> 16) & self.half_word).flatten())
        normal = (low + high) * self.sqrt_half
        return normal.view(self.latent_dim, -1).t()  # (N, L)
