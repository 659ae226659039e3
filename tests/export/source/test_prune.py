"""Pruning removes inactive latents, keeps the reconstructions, and measures the change in NLL."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from export.errors import ExportError
from export.source import prune
from export.source.source import Source
from runtime.images.pixels import to_float
from trainer.checkpoint import Checkpoint
from trainer.model.vae import VAE

Make = Callable[..., Checkpoint]


def vae_of(source: Source) -> VAE:
    assert isinstance(source.model, VAE)
    return source.model


@pytest.fixture
def source(random_checkpoint: Make) -> Source:
    """Latents 0 and 3 of 5 are inactive: their posterior is the same for every image, and close to the prior."""
    source = Source.of_checkpoint(random_checkpoint(latent_dim=5))
    model = vae_of(source)
    with torch.no_grad():
        model.mean.weight *= 10
        for head in (model.mean, model.log_var):
            head.weight[[0, 3]] = 0
        model.mean.bias[[0, 3]] = torch.tensor([0.2, -0.1])
        model.log_var.bias[:] = torch.tensor([0, -2, -2, 0, -2])  # small for active latents
        model.decoder.get_parameter("0.weight")[:, [0, 3]] *= 0.01
    return source


def test_inactive_latents_are_removed_and_the_reconstructions_stay(source: Source) -> None:
    pruned = prune.prune_latents(source)
    assert pruned.kept == (1, 2, 4)
    assert pruned.source.model.config.latent_dim == 3
    image = torch.rand(9, 1, 8, 6)
    with torch.no_grad():
        before, mean, _ = source.model(image)
        after, mean_after, _ = pruned.source.model(image)
    torch.testing.assert_close(mean_after, mean[:, [1, 2, 4]])
    torch.testing.assert_close(after, before)


def test_the_change_in_nll_is_small_for_inactive_latents_and_reported(source: Source) -> None:
    pruned = prune.prune_latents(source)
    assert abs(pruned.nll_change_nats) < 0.2
    assert pruned.summary().startswith("3 of 5 latents are active and kept, NLL (bernoulli) ")
    assert pruned.source.provenance["pruned"] == "3 of 5 latents kept, the others are dead"


def log_likelihood(logits: np.ndarray, image: np.ndarray, likelihood: str) -> np.ndarray:
    """log p(x | z) in float64, summed over pixels, from the textbook formulas."""
    p = 1 / (1 + np.exp(-logits))
    if likelihood == "gaussian":
        return -((p - image) ** 2).sum((1, 2, 3))
    density = image * np.log(p) + (1 - image) * np.log(1 - p)
    if likelihood == "continuous-bernoulli":  # Loaiza-Ganem & Cunningham 2019, equation 7
        density = density + np.log(2 * np.arctanh(1 - 2 * p) / (1 - 2 * p))
    return density.sum((1, 2, 3))


def importance_bound(model: VAE, image: Tensor, likelihood: str, k: int) -> float:
    """Importance-weighted bound on −log p(x), Burda et al. 2016, equation 8, with other draws than the exporter's."""
    random = np.random.default_rng(1)
    with torch.no_grad():
        mean, log_var = (output.double().numpy() for output in model.encode(image))
        log_w = []
        for _ in range(k):
            z = random.normal(mean, np.exp(log_var / 2))
            log_q = (-((z - mean) ** 2) / np.exp(log_var) - log_var).sum(1) / 2
            logits = model.decode_logits(torch.from_numpy(z).float()).double().numpy()
            log_w.append(log_likelihood(logits, image.numpy(), likelihood) - (z**2).sum(1) / 2 - log_q)
    return float(-(np.logaddexp.reduce(log_w) - np.log(k)).mean())


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "continuous-bernoulli"])
def test_the_nll_is_that_of_the_likelihood_the_model_was_trained_with(source: Source, likelihood: str) -> None:
    image = torch.from_numpy(to_float(source.reference_images))
    nll = prune._nll(vae_of(source), image, likelihood)
    expected = importance_bound(vae_of(source), image, likelihood, 100)
    assert nll == pytest.approx(expected, abs=0.3)  # other draws; the likelihoods differ by several nats

    pruned = prune.prune_latents(replace(source, likelihood=likelihood))
    assert pruned.nll_change_nats == prune._nll(vae_of(pruned.source), image, likelihood) - nll
    assert f", NLL ({likelihood}) " in pruned.summary()


def test_nothing_changes_where_every_latent_is_active(source: Source) -> None:
    again = prune.prune_latents(prune.prune_latents(source).source)
    assert again.latents == 3
    assert again.nll_change_nats == 0


def test_a_model_without_active_latents_is_refused(source: Source) -> None:
    nn.init.zeros_(vae_of(source).mean.weight)
    with pytest.raises(ExportError, match="no latent varies"):
        prune.prune_latents(replace(source))
