"""The model: shapes, reparameterisation, and evaluation mode."""

import pytest
import torch

from trainer.errors import SettingsError
from trainer.model.vae import VAE, ModelConfig, build_model


@pytest.fixture
def model() -> VAE:
    return build_model(ModelConfig((3, 6, 5), (8, 7), 4), seed=0)


def test_the_public_methods_return_the_documented_shapes(model: VAE) -> None:
    image = torch.rand(9, 3, 6, 5)
    mean, log_var = model.encode(image)
    assert mean.shape == log_var.shape == (9, 4)
    z = model.reparameterize(mean, log_var)
    assert z.shape == (9, 4)
    assert model.decode(z).shape == (9, 3, 6, 5)
    reconstruction, mean, log_var = model(image)
    assert reconstruction.shape == image.shape
    assert model.sample(2).shape == (2, 3, 6, 5)
    assert 0 <= model.sample(100, temperature=5).min() <= model.sample(100, temperature=5).max() <= 1


def test_reparameterised_draws_have_the_posterior_mean_and_variance(model: VAE) -> None:
    mean, log_var = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.0, -1.0]])
    noise = torch.randn(100_000, 2, generator=torch.Generator().manual_seed(0))
    z = model.reparameterize(mean, log_var, noise)
    torch.testing.assert_close(z.mean(0), mean[0], atol=0.02, rtol=0)
    torch.testing.assert_close(z.var(0), log_var[0].exp(), atol=0.02, rtol=0)


def test_in_evaluation_mode_the_latent_is_the_mean(model: VAE) -> None:
    mean, log_var = torch.randn(2, 5, 4)
    assert (model.eval().reparameterize(mean, log_var) == mean).all()
    assert (model.train().reparameterize(mean, log_var) != mean).all()


def test_weights_depend_on_the_seed_alone() -> None:
    config = ModelConfig((1, 4, 4), (5,), 2)
    torch.manual_seed(1)
    first = build_model(config, 3).state_dict()
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second, other = build_model(config, 3).state_dict(), build_model(config, 4).state_dict()
    assert (torch.get_rng_state() == state).all()
    assert all((first[name] == second[name]).all() for name in first)
    assert any((first[name] != other[name]).any() for name in first)


@pytest.mark.parametrize(
    ("preset", "architecture", "parameters"),
    [("kingma", "784-400-20", 652_824), ("tutorial", "784-256-256-32", 558_928)],
)
def test_presets_have_the_size_of_the_tutorials_networks(preset: str, architecture: str, parameters: int) -> None:
    """The counts are those of 784-400-(20, 20)-400-784 and 784-256-256-(32, 32)-256-256-784 with biases."""
    from trainer.settings import PRESETS

    settings = PRESETS[preset]
    model = VAE(ModelConfig((1, 28, 28), settings.hidden, settings.latent_dim))
    assert model.architecture == architecture
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


@pytest.mark.parametrize(
    ("image_shape", "hidden", "latent_dim", "message"),
    [
        ((2, 4, 4), (5,), 2, "image_shape should be"),
        ((1, 0, 4), (5,), 2, "image_shape should be"),
        ((1, 4, 4), (), 2, "hidden should be"),
        ((1, 4, 4), (5, 0), 2, "hidden should be"),
        ((1, 4, 4), (5,), 0, "latent_dim should be"),
    ],
)
def test_impossible_models_are_refused(
    image_shape: tuple[int, int, int], hidden: tuple[int, ...], latent_dim: int, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        ModelConfig(image_shape, hidden, latent_dim)
