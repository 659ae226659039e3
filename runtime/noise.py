"""Noise, version 1: sample `index` of `seed` is the same latent vector, bit for bit, in every engine and language.

Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") turns a counter into four random
32-bit words; a table of normal scores turns each word into a normal number. The key is the seed, the counter is
(index low, index high, block, stream), and word j of block b feeds latent dimension 4 b + j. Nothing but integer
operations, a table look-up, one float32 addition and one float32 multiplication takes part, and those are exact in
IEEE arithmetic, so no maths library and no inference engine can disagree.

The table is `normal_table_v1.f32`, made by `tools/make_normal_table.py`.
"""

from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtime.errors import InputError

NOISE_VERSION = 1
PRIOR_STREAM = 0
"""Stream of the latents of `Sampler`."""
POSTERIOR_STREAM = 1
"""Stream of the noise around the posterior mean of a reconstruction."""

_TABLE_FILE = Path(__file__).parent / "normal_table_v1.f32"
SQRT_HALF = np.float32(np.sqrt(0.5))
MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
KEY_STEPS = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
ROUNDS = 10
_LOW = np.uint64(0xFFFFFFFF)
_HALF_WORD = np.uint64(0xFFFF)
_32, _16 = np.uint64(32), np.uint64(16)
_CHUNK = 1024  # samples at a time: the working arrays then stay in the second-level cache

_Words = npt.NDArray[np.uint64]


def standard_normal(
    seed: int, indices: npt.ArrayLike, latent_dim: int, *, stream: int = PRIOR_STREAM
) -> npt.NDArray[np.float32]:
    """Standard normal noise of the samples `indices` of `seed`: float32 (N, latent_dim).

    seed: 0 … 2**63 - 1. indices: integers (N,) in the same range, in any order, repeated or not; row i of the result
    depends on `indices[i]` alone. stream: PRIOR_STREAM or POSTERIOR_STREAM.

    Raises InputError where a seed or an index is out of range or not an integer.
    """
    key = _check_seed(seed)
    counters = _check_indices(indices)
    blocks = -(-latent_dim // 4)
    noise = np.empty((len(counters), 4 * blocks), dtype=np.float32)
    for start in range(0, len(counters), _CHUNK):
        chunk = counters[start : start + _CHUNK, np.newaxis]
        words = philox4x32(
            (chunk & _LOW, chunk >> _32, np.arange(blocks, dtype=np.uint64), np.full((1, 1), stream, np.uint64)),
            (key & _LOW, key >> _32),
        )
        for j, word in enumerate(words):
            noise[start : start + _CHUNK, j::4] = _to_normal(word)
    return noise[:, :latent_dim]


def philox4x32(
    counter: tuple[_Words, _Words, _Words, _Words], key: tuple[np.uint64, np.uint64]
) -> tuple[_Words, _Words, _Words, _Words]:
    """Philox4x32-10 on broadcastable arrays of 32-bit words, held in uint64: four arrays of 32-bit words."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        product0, product1 = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0, c1, c2, c3 = (product1 >> _32) ^ c1 ^ k0, product1 & _LOW, (product0 >> _32) ^ c3 ^ k1, product0 & _LOW
        k0, k1 = (k0 + KEY_STEPS[0]) & _LOW, (k1 + KEY_STEPS[1]) & _LOW
    return c0, c1, c2, c3


@cache
def normal_table() -> npt.NDArray[np.float32]:
    """The 65,536 normal scores, ascending: float32 (65536,), read-only."""
    table = np.fromfile(_TABLE_FILE, dtype="<f4").astype(np.float32, copy=False)
    table.flags.writeable = False
    return table


def _to_normal(word: _Words) -> npt.NDArray[np.float32]:
    """Two draws from the table, one for each half of the word, added and scaled back to variance 1."""
    table = normal_table()
    normal: npt.NDArray[np.float32] = (table[word & _HALF_WORD] + table[word >> _16]) * SQRT_HALF
    return normal


def _check_seed(seed: int) -> np.uint64:
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**63:
        raise InputError(f"seed should be an integer from 0 to 2**63 - 1, but is {seed!r}")
    return np.uint64(seed)


def _check_indices(indices: npt.ArrayLike) -> _Words:
    array = np.asarray(indices)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise InputError(f"indices should be integers of shape (N,), but are {array.dtype} of shape {array.shape}")
    if array.size and (array.min() < 0 or array.max() >= 2**63):
        raise InputError(f"indices should be from 0 to 2**63 - 1, but reach from {array.min()} to {array.max()}")
    return array.astype(np.uint64)
