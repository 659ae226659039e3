"""The importance-weighted NLL against exact answers."""

import math

import pytest
import torch
from torch import Tensor

from trainer.evaluation.nll import importance_nll, sample_count
from trainer.model.vae import VAE, ModelConfig, build_model
from trainer.objective.likelihood import log_likelihood_


@pytest.fixture
def model() -> VAE:
    return build_model(ModelConfig((1, 4, 3), (8,), 1), seed=3).eval()


@pytest.fixture
def images() -> Tensor:
    return (torch.rand(5, 1, 4, 3, generator=torch.Generator().manual_seed(0)) > 0.5).float()


def _exact_log_p(model: VAE, image: Tensor) -> Tensor:
    """log ∫ p(x | z) N(z) dz by the trapezium rule over the one latent dimension, in float64."""
    z = torch.linspace(-9, 9, 4001, dtype=torch.float64)
    double = build_model(model.config, 0).double().eval()
    double.load_state_dict(model.state_dict())
    with torch.no_grad():
        p = double.decode(z[:, None]).flatten(1)  # (Z, P)
    x = image.flatten(1).double()
    log_prior = -0.5 * (z.square() + math.log(2 * math.pi))
    log_joint = x @ p.log().T + (1 - x) @ (1 - p).log().T + log_prior
    return torch.logsumexp(log_joint, 1) + math.log(z[1] - z[0])


def test_many_samples_reach_the_exact_log_likelihood(model: VAE, images: Tensor) -> None:
    found = importance_nll(model, images, k=20_000)
    assert found.nll == pytest.approx(-_exact_log_p(model, images).mean().item(), abs=0.01)


def test_bound_tightens_with_samples_and_one_sample_is_the_elbo(model: VAE, images: Tensor) -> None:
    found = importance_nll(model, images, k=5000)
    assert list(found.curve) == [1, 5, 50, 500, 5000]
    assert list(found.curve.values()) == sorted(found.curve.values(), reverse=True)
    assert found.curve[5000] == found.nll
    with torch.no_grad():
        mean, log_var = model.encode(images)
        z = mean[:, None] + (0.5 * log_var).exp()[:, None] * torch.randn(
            len(images), 20_000, 1, generator=torch.Generator().manual_seed(1)
        )
        logits = model.decode_logits(z.flatten(0, 1))
    target = images[:, None].expand(-1, 20_000, -1, -1, -1).flatten(0, 1)
    reconstruction = (
        torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="sum") / len(z) / 20_000
    )
    kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1).mean()
    assert found.curve[1] == pytest.approx((reconstruction + kl).item(), abs=0.05)


def test_result_does_not_depend_on_the_block_of_images_or_samples(
    model: VAE, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = importance_nll(model, images, k=70)
    monkeypatch.setattr("trainer.evaluation.nll._CPU_ROWS", 30)
    in_parts = importance_nll(model, images, k=70)
    assert in_parts.nll == pytest.approx(whole.nll, abs=1e-5)
    assert in_parts.effective_samples == pytest.approx(whole.effective_samples, rel=1e-4)


def test_all_samples_are_effective_if_the_posterior_is_exact(model: VAE, images: Tensor) -> None:
    """A decoder that ignores z has the prior as its posterior."""
    with torch.no_grad():
        for weight in (model.decoder.get_parameter("0.weight"), model.mean.weight, model.mean.bias):
            weight.zero_()
        model.log_var.weight.zero_()
        model.log_var.bias.zero_()
    found = importance_nll(model, images, k=64)
    assert found.effective_samples == pytest.approx(64, rel=1e-5)
    assert found.curve[1] == pytest.approx(found.nll, abs=1e-5)


def test_fast_likelihood_agrees_with_torch_even_for_huge_logits() -> None:
    random = torch.Generator().manual_seed(0)
    for pixels in (784, 3072, 7):
        logits = torch.randn(2, 6, pixels, generator=random) * torch.tensor([1, 10, 100])[torch.arange(6) % 3, None]
        image = torch.rand(2, pixels, generator=random)
        expected = -torch.nn.functional.binary_cross_entropy_with_logits(
            logits.double(), image[:, None].expand_as(logits).double(), reduction="none"
        ).sum(2)
        torch.testing.assert_close(
            log_likelihood_(logits.clone(), image, "bernoulli").double(), expected, rtol=3e-6, atol=1e-3
        )


def test_advance_counts_every_sample(model: VAE, images: Tensor) -> None:
    done: list[int] = []
    importance_nll(model, images, k=12, advance=done.append)
    assert sum(done) == 5 * 12


def test_a_subset_of_images_gives_nearly_the_result_of_all(model: VAE) -> None:
    images = (torch.rand(400, 1, 4, 3, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    with torch.no_grad():
        model.mean.bias.fill_(1.5)  # far from the posterior, so that 500 samples are worth more than 50
    done: list[int] = []
    whole = importance_nll(model, images, k=500)
    part = importance_nll(model, images, k=500, images_with_k=40, advance=done.append)
    assert sum(done) == sample_count(400, 500, 40) == 400 * 50 + 40 * 500
    assert (part.images, part.images_with_k) == (400, 40)
    assert list(part.curve) == list(whole.curve) == [1, 5, 50, 500]
    assert whole.curve[50] - whole.nll > 0.04
    assert part.nll == pytest.approx(whole.nll, abs=0.02)  # 40 images alone would be off by some 0.1
    assert whole.standard_error < part.standard_error < 2 * whole.standard_error
