"""Pruning: dead latents go, live ones keep their say, and the change is measured."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from export.errors import ExportError
from export.source import prune
from export.source.source import Source
from runtime.images.pixels import to_float
from trainer.checkpoint import Checkpoint
from trainer.evaluation.nll import importance_nll

Make = Callable[..., Checkpoint]


@pytest.fixture
def source(random_checkpoint: Make) -> Source:
    """Latents 0 and 3 of 5 are dead: their posterior is the same for every image, and near enough to the prior."""
    source = Source.of_checkpoint(random_checkpoint(latent_dim=5))
    with torch.no_grad():
        source.model.mean.weight *= 10
        for head in (source.model.mean, source.model.log_var):
            head.weight[[0, 3]] = 0
        source.model.mean.bias[[0, 3]] = torch.tensor([0.2, -0.1])
        source.model.log_var.bias[:] = torch.tensor([0, -2, -2, 0, -2])  # as of a trained model: sure of live latents
        source.model.decoder[0].weight[:, [0, 3]] *= 0.01
    return source


def test_dead_latents_are_dropped_and_the_reconstructions_stay(source: Source) -> None:
    pruned = prune.prune_latents(source)
    assert pruned.kept == (1, 2, 4)
    assert pruned.source.model.config.latent_dim == 3
    image = torch.rand(9, 1, 8, 6)
    with torch.no_grad():
        before, mean, _ = source.model(image)
        after, mean_after, _ = pruned.source.model(image)
    torch.testing.assert_close(mean_after, mean[:, [1, 2, 4]])
    torch.testing.assert_close(after, before)


def test_the_change_in_nll_is_small_for_dead_latents_and_said(source: Source) -> None:
    pruned = prune.prune_latents(source)
    assert abs(pruned.nll_change_nats) < 0.2
    assert pruned.summary().startswith("3 of 5 latents are alive and kept, NLL (bernoulli) ")
    assert pruned.source.provenance["pruned"] == "3 of 5 latents kept, the others are dead"


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "continuous-bernoulli"])
def test_the_nll_is_that_of_the_likelihood_the_model_was_trained_on(source: Source, likelihood: str) -> None:
    image = torch.from_numpy(to_float(source.reference_images))
    other_way = importance_nll(source.model, image, k=100, likelihood=likelihood)
    nll = prune._nll(source.model, image, likelihood)
    assert nll == pytest.approx(other_way.nll, abs=0.3)  # the same bound by other draws; likelihoods differ by nats

    pruned = prune.prune_latents(replace(source, likelihood=likelihood))
    assert pruned.nll_change_nats == prune._nll(pruned.source.model, image, likelihood) - nll
    assert f", NLL ({likelihood}) " in pruned.summary()


def test_nothing_changes_where_every_latent_is_alive(source: Source) -> None:
    alive = prune.prune_latents(prune.prune_latents(source).source)
    assert alive.latents == 3
    assert alive.nll_change_nats == 0


def test_a_model_without_live_latents_is_refused(source: Source) -> None:
    nn.init.zeros_(source.model.mean.weight)
    with pytest.raises(ExportError, match="no latent varies"):
        prune.prune_latents(replace(source))
