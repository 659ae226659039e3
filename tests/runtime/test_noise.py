"""Noise version 1 gives the bits that its specification defines."""

import hashlib
import math
from pathlib import Path

import numpy as np
import pytest

from runtime.errors import InputError
from runtime.noise import POSTERIOR_STREAM, normal_table, philox4x32, standard_normal


def test_philox_gives_the_published_answer_of_random123() -> None:
    pairs = np.array([[0x243F6A88_85A308D3], [0x13198A2E_03707344]], np.uint64)
    philox4x32(pairs, 0x299F31D0_A4093822, np.empty_like(pairs))
    assert [hex(pair) for pair in pairs.ravel()] == ["0xd16cfe0994fdcceb", "0x5001e42024126ea1"]


def philox_by_definition(counter: list[int], key: list[int]) -> list[int]:
    """Philox from Salmon et al. 2011 with Python integers, independent of the implementation under test."""
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * counter[0], 2**32)
        high1, low1 = divmod(0xCD9E8D57 * counter[2], 2**32)
        counter = [high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0]
        key = [(key[0] + 0x9E3779B9) % 2**32, (key[1] + 0xBB67AE85) % 2**32]
    return counter


@pytest.mark.parametrize("seed", [0, 7, 2**32, 2**63 - 1])
@pytest.mark.parametrize("index", [0, 5, 2**32 + 3, 2**63 - 1])
@pytest.mark.parametrize("stream", [0, POSTERIOR_STREAM])
def test_every_latent_follows_the_written_contract(seed: int, index: int, stream: int) -> None:
    table = normal_table()
    expected = []
    for dimension in range(10):
        block, j = divmod(dimension, 4)
        word = philox_by_definition([index % 2**32, index >> 32, block, stream], [seed % 2**32, seed >> 32])[j]
        expected.append((table[word & 0xFFFF] + table[word >> 16]) * np.float32(math.sqrt(0.5)))
    assert standard_normal(seed, [index], 10, stream=stream).tolist() == [expected]


def test_seed_7_index_5_starts_with_the_four_numbers_of_the_contract() -> None:
    bits = standard_normal(7, [5], 32)[0, :4].view(np.uint32)
    assert [hex(word) for word in bits] == ["0xbf169944", "0x3e8839ca", "0x400f639c", "0x3f898dbb"]


def test_table_has_the_hash_of_the_contract() -> None:
    digest = hashlib.sha256(normal_table().astype("<f4").tobytes()).hexdigest()
    assert digest == "84af08276231975047b6502a885fdbd29e4e60104832e33dfb45014148d5bf0c"


def test_table_is_the_conditional_mean_of_each_bin() -> None:
    """Compares every bin in float64 with the integral of the density, computed with the error function."""
    table = normal_table().astype(np.float64)
    assert (np.diff(table) > 0).all()
    assert (table == -table[::-1]).all()
    assert np.square(table).mean() == pytest.approx(1, abs=1e-7)
    # Partial sums of conditional means are densities at the edges: Σ_{i<k} n φ-differences / n = −φ(a_k).
    edge_density = -np.cumsum(table)[:-1] / len(table)
    for k in (1, 100, 32_768, 65_000):
        edge = _quantile(k / len(table))
        density = math.exp(-(edge**2) / 2) / math.sqrt(2 * math.pi)
        assert edge_density[k - 1] == pytest.approx(density, rel=1e-4)


def _quantile(p: float) -> float:
    low, high = -10.0, 10.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if math.erf(middle / math.sqrt(2)) < 2 * p - 1 else (low, middle)
    return low


def test_latents_do_not_depend_on_batch_order_or_neighbours() -> None:
    together = standard_normal(3, np.arange(10_000), 7)  # more than one chunk
    shuffled = np.random.default_rng(0).permutation(10_000)
    assert (standard_normal(3, shuffled, 7) == together[shuffled]).all()
    assert (standard_normal(3, [9999, 17, 17], 7) == together[[9999, 17, 17]]).all()


def test_a_longer_latent_starts_with_the_shorter_one() -> None:
    assert (standard_normal(1, np.arange(50), 13)[:, :6] == standard_normal(1, np.arange(50), 6)).all()


def test_noise_is_standard_normal() -> None:
    noise = standard_normal(11, np.arange(100_000), 8).astype(np.float64)
    count = noise.size
    assert abs(noise.mean()) < 4 / math.sqrt(count)
    assert abs(noise.var() - 1) < 4 * math.sqrt(2 / count)
    assert abs((noise**4).mean() - 3) < 4 * math.sqrt(96 / count)
    correlation = np.asarray(np.corrcoef(noise.T))[np.triu_indices(8, 1)]
    assert np.abs(correlation).max() < 5 / math.sqrt(100_000)


def test_posterior_noise_is_not_the_prior_noise() -> None:
    assert (standard_normal(0, [0], 4) != standard_normal(0, [0], 4, stream=POSTERIOR_STREAM)).all()


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5, True, None])
def test_a_seed_out_of_range_is_refused(seed: object) -> None:
    with pytest.raises(InputError, match="seed should be an integer from 0"):
        standard_normal(seed, [0], 4)  # type: ignore[arg-type]


@pytest.mark.parametrize("indices", [[-1], [0.5], [[1]], [2**63]])
def test_indices_out_of_range_are_refused(indices: list[object]) -> None:
    with pytest.raises(InputError, match="indices should be"):
        standard_normal(0, indices, 4)  # type: ignore[arg-type]


def test_no_indices_give_no_latents() -> None:
    assert standard_normal(0, [], 4).shape == (0, 4)


def test_the_cpp_example_brings_the_same_table() -> None:
    root = Path(__file__).parents[2]
    copy = root / "examples" / "cpp" / "normal_table_v1.f32"
    assert copy.read_bytes() == (root / "runtime" / "normal_table_v1.f32").read_bytes()
