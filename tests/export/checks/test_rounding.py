"""The derived rounding error is that of float32 sums with one accumulator, and batches fit what a model can afford."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from export.checks.cost import BATCHES, Cost
from export.checks.parity import _level_limits
from export.checks.reference import Reference
from export.checks.rounding import Float32Rounding

ROWS, TERMS = 2000, 1024


@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_the_error_of_a_product_is_that_of_sums_in_order(offset: float) -> None:
    """NumPy's cumsum adds in order. offset: of the terms; sums of positive terms err more."""
    random = np.random.default_rng(0)
    a = (random.normal(size=(ROWS, TERMS)) + offset).astype(np.float32)
    in_order = np.cumsum(a, axis=1, dtype=np.float32)[:, -1]
    measured = in_order - a.sum(1, dtype=np.float64)
    with Float32Rounding(0) as rounding:
        derived = (torch.from_numpy(a).double() @ torch.ones(TERMS, 1, dtype=torch.float64)).numpy()[:, 0]
    error = derived - a.sum(1, dtype=np.float64)
    assert rounding.contractions == 1
    assert error.std() == pytest.approx(measured.std(), rel=0.25)


@pytest.mark.parametrize(
    ("layer", "shape", "contractions"),
    [
        (nn.Conv2d(8, 4, 3, padding=1), (3, 8, 6, 6), 1),
        (nn.ConvTranspose2d(8, 4, 4, 2, 1, groups=2), (3, 8, 6, 6), 1),
        (nn.GroupNorm(2, 8), (3, 8, 6, 6), 0),
        (nn.LayerNorm(6), (3, 8, 6, 6), 0),
        (nn.InstanceNorm2d(8, affine=True), (3, 8, 6, 6), 0),
        (nn.Softmax(dim=1), (3, 8, 6, 6), 0),
    ],
)
@torch.no_grad()
def test_each_layer_errs_by_a_few_units(layer: nn.Module, shape: tuple[int, ...], contractions: int) -> None:
    layer = layer.double()
    given = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    exact = layer(given)
    with Float32Rounding(0) as rounding:
        rounded = layer(given)
    error = float((rounded - exact).abs().max())
    assert rounding.contractions == contractions
    assert 2**-26 < error < 2**-18
    assert rounding.normalises == ("Norm" in type(layer).__name__)


@pytest.mark.parametrize("value", [1.0, 0.1])
@torch.no_grad()
def test_normalising_a_constant_divides_the_error_of_its_mean_by_the_root_of_epsilon(value: float) -> None:
    """Black images are the hardest of all. Ones are added exactly, and tenths are rounded alike step after step."""
    given = torch.full((1, 1, 64, 64), value, dtype=torch.float64)
    layer, errors = nn.InstanceNorm2d(1).double(), []
    for seed in range(50):
        with Float32Rounding(seed):
            errors.append(float(layer(given).abs().max()))
    drawn = 2**-24 * math.sqrt(64 * 64 / (8 * math.log(2)) / 3) * value
    singles = np.full(64 * 64, value, np.float32)
    in_order = float(np.cumsum(singles)[-1]) / len(singles) - float(singles[0])
    assert (abs(in_order) > 10 * drawn) == (value == 0.1)
    expected = math.hypot(drawn, in_order) / math.sqrt(1e-5)
    assert np.sqrt(np.square(errors).mean()) == pytest.approx(expected, rel=0.3)


@pytest.mark.parametrize(("gain", "limit"), [(0.1, 1), (100.0, 4)])
@torch.no_grad()
def test_reconstructions_differ_by_a_level_unless_float32_errs_by_more_than_a_quarter_of_one(
    gain: float, limit: int
) -> None:
    """Ones plus a tenth, normalised: their sum in order is wrong by 1e-5, and the root of epsilon makes that 1e-3."""
    layer = nn.InstanceNorm2d(1).double()

    class Model(Reference):
        def __init__(self) -> None:
            self.cost = Cost(1, 1)

        def reconstruction(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
            constant = torch.full((len(pixels), 1, 64, 64), 0.1, dtype=torch.float64)
            image: npt.NDArray[np.float64] = (gain * layer(constant)).numpy()
            return image

    limits = _level_limits(Model(), {"black images": [np.zeros((4, 64, 64, 1), np.uint8)]})
    assert limits == {"black images": limit}


def test_views_do_not_err_and_float32_is_left_alone() -> None:
    given = torch.randn(3, 4, dtype=torch.float64)
    single = torch.randn(3, 4)
    with Float32Rounding(0):
        assert torch.equal(given.t().reshape(4, 3).t(), given)
        sums = single + single
    assert torch.equal(sums, 2 * single)


def test_small_models_run_every_batch_and_large_ones_what_they_can_afford() -> None:
    assert Cost(500_000, 784).batches == BATCHES == Cost(500_000, 784).interpreted_batches
    large = Cost(operations=2_000_000_000, largest=4_000_000)
    assert large.batches == (1, 2, 5)
    assert large.rows_of_variants == 8
    assert large.interpreted_batches == ()
    assert Cost(10**13, 10**9).batches == (1, 2)
