"""Likelihoods and KL agree with the papers' definitions, in nats per image."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Normal, kl_divergence

from trainer.objective.likelihood import (
    NLL,
    bernoulli_entropy_floor,
    bernoulli_nll,
    kl_to_standard_normal,
    log_likelihood_,
    nll_of,
)


@pytest.fixture
def logits_and_image() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(6, 1, 5, 4, generator=generator)
    image[0], image[1] = 0, 1
    return torch.randn(6, 1, 5, 4, generator=generator) * 20, image


def test_bernoulli_nll_is_the_cross_entropy_of_each_image(
    logits_and_image: tuple[torch.Tensor, torch.Tensor],
) -> None:
    logits, image = logits_and_image
    exact = F.binary_cross_entropy_with_logits(logits.double(), image.double(), reduction="none").sum((1, 2, 3))
    torch.testing.assert_close(bernoulli_nll(logits, image).double(), exact, rtol=1e-6, atol=1e-5)


def test_its_gradient_is_sigmoid_minus_image(logits_and_image: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, image = (tensor.double() for tensor in logits_and_image)
    logits = (logits / 10).requires_grad_()
    assert torch.autograd.gradcheck(lambda value: bernoulli_nll(value, image), (logits,))


def test_the_gradient_does_not_vanish_where_a_sigmoid_saturates() -> None:
    logits = torch.tensor([[200.0, -200.0]], requires_grad=True)
    bernoulli_nll(logits, torch.tensor([[0.0, 1.0]])).sum().backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == [[1.0, -1.0]]


def test_kl_equals_torch_distributions_summed_over_latents() -> None:
    mean, log_var = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = kl_divergence(Normal(mean, torch.exp(log_var / 2)), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(kl_to_standard_normal(mean, log_var), exact)


def test_kl_of_the_prior_itself_is_zero() -> None:
    assert kl_to_standard_normal(torch.zeros(2, 4), torch.zeros(2, 4)).tolist() == [0, 0]


def test_no_logits_beat_the_entropy_floor() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 1), np.uint8)
    image = torch.from_numpy(pixels / 255.0).permute(0, 3, 1, 2)
    floor = bernoulli_entropy_floor(pixels)
    best = bernoulli_nll(torch.logit(image, eps=1e-12), image).mean()
    assert best.item() == pytest.approx(floor, abs=1e-6)


def test_the_floor_of_black_and_white_is_zero_and_of_half_gray_one_bit_a_pixel() -> None:
    assert bernoulli_entropy_floor(np.array([[[[0], [255]]]], np.uint8)) == 0
    nearly_half = bernoulli_entropy_floor(np.full((1, 2, 2, 1), 128, np.uint8))
    assert nearly_half == pytest.approx(4 * math.log(2), rel=1e-4)


@pytest.mark.parametrize("likelihood", list(NLL))
def test_the_fast_path_for_many_draws_agrees_with_the_training_loss(likelihood: str) -> None:
    random = torch.Generator().manual_seed(3)
    logits = 3 * torch.randn(
        2, 5, 1009, dtype=torch.float64, generator=random
    )  # 1009 is prime, so the last product has fewer factors
    image = torch.rand(2, 1009, dtype=torch.float64, generator=random)
    expected = -NLL[likelihood](logits.flatten(0, 1), image.repeat_interleave(5, dim=0)).view(2, 5)
    torch.testing.assert_close(log_likelihood_(logits.clone(), image, likelihood), expected)


def test_calibrated_gaussian_is_the_normal_density_and_its_best_variance_is_the_squared_error() -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(5, 3, 4, 4, dtype=torch.float64, generator=generator)
    image = torch.rand(5, 3, 4, 4, dtype=torch.float64, generator=generator)
    log_variance = torch.tensor([-3.0], dtype=torch.float64)
    normal = torch.distributions.Normal(logits.sigmoid(), (log_variance / 2).exp())
    expected = -normal.log_prob(image).flatten(1).sum(1)
    torch.testing.assert_close(nll_of("calibrated-gaussian", logits, image, log_variance), expected)
    best = (logits.sigmoid() - image).square().mean().log().view(1)
    at_best = nll_of("calibrated-gaussian", logits, image, best).sum()
    for other in (best - 0.1, best + 0.1):
        assert nll_of("calibrated-gaussian", logits, image, other).sum() > at_best
