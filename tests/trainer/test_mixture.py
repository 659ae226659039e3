"""Expectation maximisation over points that are Gaussians."""

import numpy as np
import pytest
import torch

from trainer.mixture import Gaussians, Mixture, fit_mixture


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def points_of_two_clusters(count: int = 400) -> Gaussians:
    """Three in four lie around (-3, 0), the others around (3, 1); each is uncertain by a variance of its own."""
    drawn = np.random.default_rng(0)
    centres = np.where((np.arange(count) % 4 == 0)[:, None], [3.0, 1.0], [-3.0, 0.0])
    mean = centres + drawn.standard_normal((count, 2)) * [0.5, 0.2]
    return Gaussians(torch.tensor(mean), torch.tensor(drawn.uniform(0.01, 0.3, (count, 2))))


def test_one_component_has_the_exact_moments_of_the_posteriors_together() -> None:
    points = points_of_two_clusters()
    fitted = fit_mixture(points, 1, 3, random())
    # The law of total variance, without a draw.
    mean, variance = points.mean.numpy(), points.variance.numpy()
    assert fitted.components.mean[0].numpy() == pytest.approx(mean.mean(0))
    assert fitted.components.variance[0].numpy() == pytest.approx(mean.var(0) + variance.mean(0))


def test_two_clusters_are_found_with_their_weights() -> None:
    points = points_of_two_clusters()
    fitted = fit_mixture(points, 2, 20, random())
    right = np.arange(400) % 4 == 0
    for component, members in zip(np.argsort(fitted.components.mean[:, 0].numpy()), (~right, right), strict=True):
        mean = points.mean.numpy()[members]
        variance = mean.var(0) + points.variance.numpy()[members].mean(0)
        assert fitted.weights[component] == pytest.approx(members.mean())
        assert fitted.components.mean[component].numpy() == pytest.approx(mean.mean(0), abs=1e-6)
        whole = points.mean.numpy().var(0) + points.variance.numpy().mean(0)
        count = members.sum()
        shrunk = (count * variance + whole) / (count + 1)  # the group's variance counts as one point
        assert fitted.components.variance[component].numpy() == pytest.approx(shrunk, abs=1e-6)


def test_log_density_is_the_logarithm_of_the_weighted_sum_of_densities() -> None:
    components = Gaussians(
        torch.tensor([[0.0, 1.0], [2.0, -1.0]]).double(), torch.tensor([[1.0, 0.5], [0.1, 2.0]]).double()
    )
    mixture = Mixture(torch.tensor([0.25, 0.75]).double(), components)
    z = torch.tensor([[0.3, 0.4], [2.1, 0.0], [-5.0, 9.0]]).double()
    normal = torch.distributions.Normal(components.mean, components.variance.sqrt())
    expected = (normal.log_prob(z[:, None]).sum(2).exp() * mixture.weights).sum(1).log()
    assert mixture.log_density(z).numpy() == pytest.approx(expected.numpy())


def test_posteriors_are_fitted_as_well_as_many_draws_of_them() -> None:
    points = points_of_two_clusters()
    exact = fit_mixture(points, 2, 20, random())
    draws = points.draw(200, random(1))
    by_draws = fit_mixture(Gaussians(draws, torch.zeros_like(draws)), 2, 20, random())
    unseen = points.draw(50, random(2))
    gap = exact.log_density(unseen).mean() - by_draws.log_density(unseen).mean()
    assert abs(float(gap)) < 0.01  # 20,000 draws vary by 0.01 in their mean log-density


def test_steps_improve_on_the_clusters_that_they_start_from() -> None:
    points = points_of_two_clusters()
    unseen = points.draw(20, random(2))
    first, last = (float(fit_mixture(points, 4, steps, random()).log_density(unseen).mean()) for steps in (0, 16))
    assert last > first


def test_equal_points_make_one_component() -> None:
    same = Gaussians(torch.ones(20, 3).double(), torch.full((20, 3), 0.5).double())
    fitted = fit_mixture(same, 5, 5, random())
    assert len(fitted.weights) == 1
    assert fitted.components.variance.numpy() == pytest.approx(0.5)
