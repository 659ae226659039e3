"""The objective: every bound and weight agrees with an independent derivation."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.distributions import ContinuousBernoulli, Normal

from trainer.data.binarize import binarize
from trainer.errors import SettingsError
from trainer.model.vae import VAE, ModelConfig, build_model
from trainer.objective.bound import BoundTerms, Objective, importance_bound, negative_elbo
from trainer.objective.likelihood import continuous_bernoulli_nll, gaussian_nll
from trainer.settings import CHOICES, Settings

CONFIG = ModelConfig((1, 4, 5), (7,), latent_dim=3)


def settings(**changes: object) -> Settings:
    return Settings("test", (7,), 3, batch_size=4, epochs=4, clip_norm=None, **changes)  # type: ignore[arg-type]


def terms(draws: int = 1, noise: Tensor | None = None, model: VAE | None = None, **changes: object) -> BoundTerms:
    """Terms of six random images in float64."""
    model = (model or build_model(CONFIG, 1)).double()
    random = torch.Generator().manual_seed(2)
    image = torch.rand(6, 1, 4, 5, dtype=torch.float64, generator=random)
    if noise is None:
        noise = torch.randn(6, draws, 3, dtype=torch.float64, generator=random)
    return Objective.of(settings(draws=draws, **changes)).terms(model, image, noise)


def gradient_of(draws: int, bound: str, model: VAE) -> dict[str, Tensor]:
    model.zero_grad()
    terms(draws, model=model, bound=bound).loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 0.0999, 0.1001, 1.0, 12.0])
def test_continuous_bernoulli_agrees_with_torch_distributions(scale: float) -> None:
    logits = (torch.linspace(-1, 1, 40, dtype=torch.float64) * scale).view(2, 1, 4, 5).requires_grad_()
    image = torch.linspace(0, 1, 40, dtype=torch.float64).view(2, 1, 4, 5)
    ours = continuous_bernoulli_nll(logits, image)
    (gradient,) = torch.autograd.grad(ours.sum(), logits)
    # torch's closed form loses digits near λ = ½; `lims` makes it use its series there.
    theirs = -ContinuousBernoulli(logits=logits, lims=(0.49, 0.51)).log_prob(image).flatten(1).sum(1)
    (their_gradient,) = torch.autograd.grad(theirs.sum(), logits)
    torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-7)
    torch.testing.assert_close(gradient, their_gradient, rtol=1e-5, atol=1e-6)


def test_gaussian_is_the_normal_of_variance_one_half_without_its_constant() -> None:
    logits, image = torch.randn(3, 1, 4, 5), torch.rand(3, 1, 4, 5)
    log_p = Normal(torch.sigmoid(logits), math.sqrt(0.5)).log_prob(image).flatten(1).sum(1)
    torch.testing.assert_close(gaussian_nll(logits, image), -log_p - 20 * 0.5 * math.log(math.pi))


def test_importance_weights_are_joint_over_posterior() -> None:
    model = build_model(CONFIG, 1).double()
    noise = torch.randn(6, 4, 3, dtype=torch.float64)
    found = terms(4, noise, model, bound="iwae").log_weights
    image = torch.rand(6, 1, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    mean, log_var = (head[:, None] for head in model.encode(image))
    posterior = Normal(mean, (log_var / 2).exp())
    z = mean + posterior.stddev * noise
    log_prior, log_q = Normal(0, 1).log_prob(z).sum(2), posterior.log_prob(z).sum(2)
    probability = model.decode(z.flatten(0, 1)).view(6, 4, 1, 4, 5)
    x = image[:, None]
    log_likelihood = (x * probability.log() + (1 - x) * (1 - probability).log()).flatten(2).sum(2)
    torch.testing.assert_close(found, log_likelihood + log_prior - log_q)


def test_loss_of_iwae_is_minus_the_log_of_the_mean_weight() -> None:
    result = terms(5, bound="iwae")
    assert result.log_weights is not None
    torch.testing.assert_close(result.loss, -result.log_weights.exp().mean(1).log().sum())


def test_iwae_is_finite_for_weights_that_underflow() -> None:
    model = build_model(CONFIG, 1)
    with torch.no_grad():
        model.decoder.get_parameter("2.bias").fill_(500.0)  # log-weights of some −5000 nats
    assert torch.isfinite(terms(5, model=model, bound="iwae").loss)


def test_dreg_and_iwae_have_the_same_value() -> None:
    assert terms(4, bound="dreg").loss.item() == pytest.approx(terms(4, bound="iwae").loss.item(), abs=1e-9)


def test_dreg_leaves_the_decoder_its_iwae_gradient_and_changes_only_the_encoders() -> None:
    model = build_model(CONFIG, 1)
    iwae, dreg = gradient_of(4, "iwae", model), gradient_of(4, "dreg", model)
    for name, gradient in iwae.items():
        same = torch.allclose(gradient, dreg[name], rtol=1e-9, atol=1e-12)
        assert same == name.startswith("decoder"), name


def test_dreg_has_the_expected_gradient_of_iwae() -> None:
    """Both estimators have the same expectation: their means over many draws agree within the standard error."""
    model = build_model(ModelConfig((1, 4, 5), (7,), 2), 3).double()
    random = torch.Generator().manual_seed(4)
    image = torch.rand(1, 1, 4, 5, dtype=torch.float64, generator=random).expand(4000, 1, 4, 5)
    noise = torch.randn(4000, 3, 2, dtype=torch.float64, generator=random)
    means, errors = [], []
    for bound in ("iwae", "dreg"):
        heads: list[Tensor] = []
        hook = model.mean.register_forward_hook(lambda _, __, output, heads=heads: heads.append(output))
        result = Objective.of(settings(draws=3, bound=bound)).terms(model, image, noise)
        (per_image,) = torch.autograd.grad(result.loss, heads[0])  # (4000, 2): one estimate an image
        hook.remove()
        means.append(per_image.mean(0))
        errors.append(per_image.std(0) / math.sqrt(4000))
    distance = (means[0] - means[1]).abs() / torch.hypot(errors[0], errors[1])
    assert distance.max() < 5
    assert errors[1].sum() < errors[0].sum()  # the reason to use DReG: a smaller variance


def test_several_draws_of_the_elbo_average_its_reconstruction() -> None:
    model = build_model(CONFIG, 1)
    noise = torch.randn(6, 3, 3, dtype=torch.float64)
    together = terms(3, noise, model)
    alone = [terms(1, noise[:, i : i + 1], model) for i in range(3)]
    torch.testing.assert_close(together.loss, torch.stack([one.loss for one in alone]).mean())


def test_beta_multiplies_the_kl_alone() -> None:
    plain, heavy = terms(), terms(beta=3.0)
    assert (heavy.loss - plain.loss).item() == pytest.approx(2 * plain.kl.sum().item())


def test_free_bits_take_the_gradient_from_dimensions_that_use_less() -> None:
    model = build_model(CONFIG, 1)
    free = terms(free_bits=100.0, model=model)
    assert (free.loss - free.reconstruction.sum()).item() == pytest.approx(6 * 3 * 100.0)
    reconstruction_only = torch.autograd.grad(terms(beta=0.0, model=model).loss, model.mean.weight)[0]
    torch.testing.assert_close(torch.autograd.grad(free.loss, model.mean.weight)[0], reconstruction_only)


def test_kl_weight_rises_linearly_to_beta_and_stays() -> None:
    warm = settings(beta=2.0, kl_warmup=4.0)
    assert [warm.kl_weight(progress) for progress in (0, 1, 2, 4, 9)] == [0, 0.5, 1, 2, 2]
    assert settings(beta=2.0).kl_weight(0) == 2.0


def test_cosine_schedule_starts_at_the_learning_rate_and_falls_each_epoch() -> None:
    rates = [settings(schedule="cosine", learning_rate=0.1).learning_rate_in(epoch) for epoch in (1, 2, 3, 4)]
    assert rates[0] == 0.1
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] > 0


def test_free_bits_with_an_importance_weighted_bound_are_refused() -> None:
    with pytest.raises(SettingsError, match="free_bits belongs to the elbo"):
        settings(free_bits=0.1, bound="iwae")


def test_dynamic_binarization_is_white_as_often_as_the_pixel_says() -> None:
    pixels = torch.tensor([0, 1, 51, 128, 254, 255], dtype=torch.uint8).repeat(200_000, 1)
    drawn = binarize(pixels, "dynamic", torch.Generator().manual_seed(0))
    assert drawn.unique().tolist() == [0, 255]
    share = drawn.double().mean(0) / 255
    expected = pixels[0].double() / 255
    assert (float(share[0]), float(share[-1])) == (0, 1)
    assert ((share - expected).abs() <= 5 * (expected * (1 - expected) / 200_000).sqrt()).all()


def test_threshold_binarization_splits_at_half_and_none_changes_nothing() -> None:
    pixels = torch.tensor([0, 127, 128, 255], dtype=torch.uint8)
    assert binarize(pixels, "static-threshold", torch.Generator()).tolist() == [0, 0, 255, 255]
    assert binarize(pixels, "none", torch.Generator()) is pixels


def test_importance_bound_is_the_log_of_the_mean_weight() -> None:
    weights = torch.randn(4, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(importance_bound(weights), weights.exp().mean(1).log())


def test_negative_elbo_on_tensors_is_the_training_loss_with_one_draw() -> None:
    model = build_model(replace(CONFIG, pixel_variance=True), 1).double()
    noise = torch.randn(6, 1, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    image = torch.rand(6, 1, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    mean, log_var = model.encode(image)
    logits = model.decode_logits(model.reparameterize(mean, log_var, noise[:, 0]))
    for likelihood in CHOICES["likelihood"]:
        found = negative_elbo(logits, image, mean, log_var, likelihood, model.log_variance)
        assert found.shape == (6,)
        torch.testing.assert_close(found.sum(), terms(1, noise, model, likelihood=likelihood).loss)
