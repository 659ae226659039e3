"""Noise, version 1: sample `index` of `seed` is the same latent vector, bit for bit, in every engine and language.

Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") turns a counter into four random
32-bit words; a table of normal scores turns each word into a normal number. The key is the seed, the counter is
(index low, index high, block, stream), and word j of block b gives latent dimension 4 b + j. This takes only integer
operations, table look-ups, one float32 addition and one float32 multiplication. IEEE arithmetic defines their results
exactly, so every maths library and inference engine gives the same bits.

The table is `normal_table_v1.f32`, made by `tools/make_normal_table.py`.
"""

import sys
import threading
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtime.errors import InputError

NOISE_VERSION = 1
PRIOR_STREAM = 0
"""Stream of the latents of `Sampler`."""
POSTERIOR_STREAM = 1
"""Stream of the noise around the posterior mean of a reconstruction."""
COMPONENT_STREAM = 2
"""Stream of the words that choose a component of the prior."""

_TABLE_FILE = Path(__file__).parent / "normal_table_v1.f32"
SQRT_HALF = np.float32(np.sqrt(0.5))
MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
KEY_STEPS = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
ROUNDS = 10
_32 = np.array(32, np.uint64)  # 0-dimensional array: with a NumPy scalar, short calls take twice as long
_HIGH, _LOW = (1, 0) if sys.byteorder == "little" else (0, 1)  # positions of the halves of a uint64
_CHUNK = 9216  # blocks at a time: of 1,024 samples of 32 latents and a component. With fewer, Python dominates; more do
# not fit into the L2 cache.
_FEW = 512  # blocks; up to here NumPy takes longer to repeat a number along a row than to read a row of it

_Words = npt.NDArray[np.uint64]


def standard_normal(
    seed: int, indices: npt.ArrayLike, latent_dim: int, *, stream: int = PRIOR_STREAM
) -> npt.NDArray[np.float32]:
    """Standard normal noise of the samples `indices` of `seed`: float32 (N, latent_dim).

    seed: 0 … 2**63 - 1. indices: integers (N,) in the same range, in any order, repeats allowed; row i of the result
    depends only on the seed, the stream and `indices[i]`. stream: PRIOR_STREAM or POSTERIOR_STREAM.

    Raises InputError if the seed or an index is out of range or not an integer.
    """
    return _draw(seed, indices, latent_dim, stream, with_component=False)[0]


def component_words(seed: int, indices: npt.ArrayLike) -> npt.NDArray[np.uint32]:
    """Word 0 of block 0 of COMPONENT_STREAM, for the samples `indices` of `seed`: uint32 (N,).

    seed, indices and errors: as for `standard_normal`.
    """
    return _draw(seed, indices, 0, PRIOR_STREAM, with_component=True)[1]


def normal_and_component_words(
    seed: int, indices: npt.ArrayLike, latent_dim: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint32]]:
    """`standard_normal` and `component_words` of the same samples, faster than by two calls: NumPy starts less."""
    return _draw(seed, indices, latent_dim, PRIOR_STREAM, with_component=True)


def _draw(
    seed: int, indices: npt.ArrayLike, latent_dim: int, stream: int, *, with_component: bool
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint32]]:
    """Noise, float32 (N, latent_dim), and the words that choose components, uint32 (N,), empty if not asked for."""
    key = _check_seed(seed)
    counters = _check_indices(indices)
    blocks = -(-latent_dim // 4)
    columns = blocks + with_component
    step = max(1, _CHUNK // max(1, columns))
    noise = np.empty((len(counters), 4 * blocks), dtype=np.float32)
    components = np.empty(len(counters) if with_component else 0, np.uint32)
    for start in range(0, len(counters), step):
        chunk = counters[start : start + step]
        low_first, drawn = (chunk << _32) | (chunk >> _32), len(chunk) * blocks
        pairs, spare, words, draws = _workspace.of(len(chunk) * columns, drawn)  # first the noise, then the components
        pairs[0, :drawn].reshape(len(chunk), blocks)[:] = low_first[:, np.newaxis]
        pairs[1, :drawn].reshape(len(chunk), blocks)[:] = _blocks_and_stream(blocks, stream)
        if with_component:
            pairs[0, drawn:], pairs[1, drawn:] = low_first, COMPONENT_STREAM
        philox4x32(pairs, key, spare)
        halves = pairs.view(np.uint32)
        if with_component:
            components[start : start + step] = halves[0, 2 * drawn + _HIGH :: 2]
        words[:, 0], words[:, 1] = halves[0, _HIGH : 2 * drawn : 2], halves[0, _LOW : 2 * drawn : 2]
        words[:, 2], words[:, 3] = halves[1, _HIGH : 2 * drawn : 2], halves[1, _LOW : 2 * drawn : 2]
        normal_table().take(words.view(np.uint16), out=draws, mode="wrap")  # the only mode that does not copy `out`
        rows = noise[start : start + step].reshape(drawn, 4)
        np.add(draws[:, 0::2], draws[:, 1::2], out=rows)
        np.multiply(rows, SQRT_HALF, out=rows)
    return np.ascontiguousarray(noise[:, :latent_dim]), components


def philox4x32(pairs: _Words, key: int, spare: _Words) -> None:
    """Philox4x32-10, in place.

    pairs: uint64 (2, N), the counters as c0 · 2**32 + c1 and c2 · 2**32 + c3; overwritten with the four random words in
    the same layout. key: k1 · 2**32 + k0. spare: uint64 (2, N), a work buffer.

    A round multiplies c0 and c2 by constants and uses the high and the low half of both products. With two words in one
    uint64, a product is XORed as a whole, without splitting it into halves.
    """
    swapped, columns = pairs[::-1], pairs.shape[1] if pairs.shape[1] <= _FEW else 1
    multipliers = _multipliers(columns)
    for keys in _round_keys(key, columns):  # outputs by position, because NumPy takes longer to read a name
        np.right_shift(swapped, _32, spare)
        np.multiply(spare, multipliers, spare)
        np.left_shift(pairs, _32, pairs)
        np.bitwise_xor(pairs, spare, pairs)
        np.bitwise_xor(pairs, keys, pairs)


@lru_cache(maxsize=16)
def _multipliers(columns: int) -> _Words:
    """What c2 and c0 are multiplied by, uint64 (2, columns)."""
    return np.array(MULTIPLIERS[::-1])[:, np.newaxis].repeat(columns, axis=1)


@lru_cache(maxsize=16)
def _round_keys(key: int, columns: int) -> tuple[_Words, ...]:
    """Both key words of each round, in the upper half of a uint64: uint64 (2, columns) each."""
    halves = zip((key, key >> 32), KEY_STEPS, strict=True)
    words = [[(half + number * int(step)) % 2**32 << 32 for number in range(ROUNDS)] for half, step in halves]
    return tuple(np.array(words, np.uint64).T[:, :, np.newaxis].repeat(columns, axis=2))


@lru_cache(maxsize=16)
def _blocks_and_stream(blocks: int, stream: int) -> _Words:
    """Counter words (block, stream) of one sample, as block · 2**32 + stream: uint64 (blocks,)."""
    return np.arange(blocks, dtype=np.uint64) << _32 | np.uint64(stream)


@cache
def normal_table() -> npt.NDArray[np.float32]:
    """The 65,536 normal scores, ascending: float32 (65536,), read-only."""
    table = np.fromfile(_TABLE_FILE, dtype="<f4").astype(np.float32, copy=False)
    table.flags.writeable = False
    return table


class _Workspace(threading.local):
    """Work arrays for one chunk, per thread. Reused between calls, because new memory causes page faults."""

    def __init__(self) -> None:
        self._pairs = self._spare = np.empty(0, np.uint64)
        self._words, self._draws = np.empty((0, 4), np.uint32), np.empty((0, 8), np.float32)

    def of(self, count: int, drawn: int) -> tuple[_Words, _Words, npt.NDArray[np.uint32], npt.NDArray[np.float32]]:
        """Uninitialised arrays: uint64 (2, count) twice, uint32 (drawn, 4), float32 (drawn, 8), with drawn <= count."""
        if count > len(self._words):
            self._pairs, self._spare = np.empty((2, 2 * count), np.uint64)
            self._words, self._draws = np.empty((count, 4), np.uint32), np.empty((count, 8), np.float32)
        pairs, spare = self._pairs[: 2 * count].reshape(2, count), self._spare[: 2 * count].reshape(2, count)
        return pairs, spare, self._words[:drawn], self._draws[:drawn]


_workspace = _Workspace()


def _check_seed(seed: int) -> int:
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**63:
        raise InputError(f"seed should be an integer from 0 to 2**63 - 1, but is {seed!r}")
    return int(seed)


def _check_indices(indices: npt.ArrayLike) -> _Words:
    array = np.asarray(indices)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise InputError(f"indices should be integers of shape (N,), but are {array.dtype} of shape {array.shape}")
    if array.size and (array.max() >= 2**63 or (array.dtype.kind == "i" and array.min() < 0)):
        raise InputError(f"indices should be from 0 to 2**63 - 1, but reach from {array.min()} to {array.max()}")
    return array.astype(np.uint64)
