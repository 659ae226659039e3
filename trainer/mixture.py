"""A mixture of diagonal Gaussians, fitted to points that are themselves Gaussian: the posteriors q(z|x) of a VAE.

Expectation maximisation (Dempster, Laird & Rubin 1977) in which each point is a diagonal Gaussian N(m, v) and not a
draw from it. A component's variance is the spread of its means m plus their average v, exactly, where draws would give
an estimate; and the log-density of a point under a component is its expectation E[log N(z; mu, s)], which is that of m
less sum(v / s) / 2. By Jensen's inequality, what rises in each step is a lower bound on E[log p(z)].
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_SHRINKAGE = 1.0  # points' worth of the whole group's variance that every component's is averaged with
_SMALLEST_VARIANCE = 1e-4  # a posterior far narrower than its prior, but no point
_NO_SHARE = 1e-300  # of a point in all components that are left: it is lost, but no division by 0
_LOG_2_PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class Gaussians:
    """N diagonal Gaussians over L latents: float64 (N, L) each."""

    mean: Tensor
    variance: Tensor

    def __len__(self) -> int:
        return len(self.mean)

    def __getitem__(self, chosen: Tensor) -> Gaussians:
        return Gaussians(self.mean[chosen], self.variance[chosen])

    def draw(self, num: int, generator: torch.Generator) -> Tensor:
        """`num` draws of each: float64 (num * N, L)."""
        noise = torch.randn(num, *self.mean.shape, generator=generator, dtype=self.mean.dtype)
        return (self.mean + self.variance.sqrt() * noise).flatten(0, 1)

    def expected_squares(self) -> Tensor:
        """E[z²], (N, L)."""
        return self.mean.square() + self.variance


@dataclass(frozen=True)
class Mixture:
    """K diagonal Gaussians with weights that sum to 1, float64 (K,)."""

    weights: Tensor
    components: Gaussians

    def log_density(self, z: Tensor) -> Tensor:
        """log p(z) of points z, (N, L): (N,)."""
        return self._joint(torch.cat([z.square(), z], 1)).logsumexp(1)

    def responsibilities(self, moments: Tensor) -> Tensor:
        """Probability that each point is of each component: (N, K). moments: E[z²] and E[z], (N, 2 L)."""
        return self._joint(moments).softmax(1)

    def _joint(self, moments: Tensor) -> Tensor:
        """log of weight times density, its expectation where `moments` are those of a distribution: (N, K)."""
        mean, precision = self.components.mean, 1 / self.components.variance
        constant = (mean.square() * precision - precision.log() + _LOG_2_PI).sum(1)  # (K,)
        return moments @ torch.cat([-precision / 2, mean * precision], 1).T + (self.weights.log() - constant / 2)


def fit_mixture(points: Gaussians, size: int, iterations: int, generator: torch.Generator) -> Mixture:
    """A mixture of `size` components, or fewer where some are left with less than one point.

    It starts from the clusters that k-means++ makes of the means. Every variance is averaged with that of all points,
    which counts as one more point of the component: a component of few points does not shrink onto them.
    """
    whole = points.variance.mean(0) + points.mean.var(0, correction=0)  # (L,)
    centre = points.mean.mean(0)
    shifted = Gaussians(points.mean - centre, points.variance)  # squares of small numbers lose fewer digits
    moments = torch.cat([shifted.expected_squares(), shifted.mean], 1)
    nearest = torch.cdist(shifted.mean, _spread_out(shifted.mean, size, generator)).argmin(1)
    shares = torch.nn.functional.one_hot(nearest, size).to(moments.dtype)  # (N, K)
    for iteration in range(iterations + 1):
        counts = shares.sum(0)
        kept = counts >= min(1.0, float(counts.max()))  # one at least
        if not kept.all():
            shares = shares[:, kept]
            shares = shares / shares.sum(1, keepdim=True).clamp_min(_NO_SHARE)
        counts = shares.sum(0)[:, None]
        squares, mean = (shares.T @ moments / counts).chunk(2, dim=1)
        variance = (counts * (squares - mean.square()).clamp_min(0) + _SHRINKAGE * whole) / (counts + _SHRINKAGE)
        weights = counts[:, 0] / counts.sum()
        mixture = Mixture(weights, Gaussians(mean, variance.clamp_min(_SMALLEST_VARIANCE)))
        if iteration < iterations:
            shares = mixture.responsibilities(moments)
    return Mixture(mixture.weights, Gaussians(mixture.components.mean + centre, mixture.components.variance))


def _spread_out(points: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Centres far from each other, (size, L): greedy k-means++ (Arthur & Vassilvitskii 2007).

    Each centre is a point drawn in proportion to its squared distance to the nearest one so far; of several draws the
    one is taken that leaves the smallest sum of these distances.
    """
    trials = 2 + int(math.log(size))
    first = int(torch.randint(len(points), (1,), generator=generator))
    centres = [points[first]]
    distances = (points - points[first]).square().sum(1)
    while len(centres) < size:
        if not distances.any():  # fewer different points than centres
            break
        tried = torch.multinomial(distances, trials, replacement=True, generator=generator)
        squared = torch.cdist(points[tried], points).square()
        best = int(torch.minimum(distances, squared).sum(1).argmin())
        distances = torch.minimum(distances, squared[best])
        centres.append(points[tried[best]])
    return torch.stack(centres)
