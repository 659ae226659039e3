"""Ex-post density estimation: a mixture of Gaussians fitted to the posterior, to draw from instead of N(0, I).

The aggregate posterior of a trained VAE is not N(0, I): decoding N(0, I) lands between the places that the decoder was
trained on. Fitting a density to posterior draws once training is over repairs that without touching the model (Ghosh et
al. 2020, "From variational to deterministic autoencoders", section 4).
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from runtime.prior import Prior
from trainer.data.pixels import to_float
from trainer.errors import SettingsError
from trainer.seeds import derive_seed, generator

SIZES = (1, 3, 10, 25, 50, 100)
"""Components that a group of images may get; the held-out likelihood decides."""

_POINTS = 24_000  # posterior draws of a group: so many of each image, but at least one and at most 50
_MOST_DRAWS = 50
_MOST_IMAGES = 60_000  # of a group; the others add nothing but time
_HELD_OUT = 6  # one image in so many
_FEWEST_HELD_OUT = 2
_SELECTION_ITERATIONS, _ITERATIONS = 8, 30  # of expectation maximisation; the order of sizes shows after a few
_SMALLEST_VARIANCE = 1e-4  # a posterior far narrower than its prior, but no point
_ENCODED_AT_ONCE = 2000

_Draws = npt.NDArray[np.float32]


class Encodes(Protocol):
    """A model with a posterior."""

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """float32 (N, C, H, W) in [0, 1] → mean and log-variance (N, L)."""
        ...

    def parameters(self) -> Iterator[Tensor]:
        """Its weights, all on one device."""
        ...


@dataclass(frozen=True)
class FittedPrior:
    """A prior and how it came about."""

    prior: Prior
    sizes: tuple[int, ...]
    """Components of each class, in the order of the classes; one number where there are none."""
    seconds: float

    def summary(self) -> str:
        """One line for the screen."""
        few, many = min(self.sizes), max(self.sizes)
        each = f"{few}" if few == many else f"{few} to {many}"
        groups = f", {each} a class" if self.prior.classes else ""
        return f"mixture of {self.prior.components} Gaussians{groups}, fitted in {self.seconds:.1f} s"


def check_mixture() -> None:
    """Raise SettingsError where scikit-learn, which fits the mixture, is not installed."""
    try:
        import sklearn.mixture  # noqa: F401
    except ImportError:
        raise SettingsError(
            "--prior mixture needs scikit-learn; pip install 'vae-toolchain[train]', or train with --prior normal"
        ) from None


def fit_prior(
    model: Encodes,
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64] | None,
    *,
    seed: int,
    class_names: tuple[str, ...] | None = None,
    batch: int = _ENCODED_AT_ONCE,
    advance: Callable[[int, int], object] = lambda done, groups: None,
) -> FittedPrior:
    """Fit a mixture of diagonal Gaussians to posterior draws of `images`, group by group.

    model: in evaluation mode. images: uint8 (N, H, W, C), those of training. labels: (N,), whose values become the
    classes, in ascending order; None makes one group of all. class_names: what label i means. seed: of every draw; the
    same seed gives the same prior on one machine, whatever its number of threads. batch: images that are encoded at a
    time. advance: told after each group how many are done, and how many there are.
    """
    check_mixture()
    from threadpoolctl import threadpool_limits

    started = time.perf_counter()
    values = np.zeros(1, np.int64) if labels is None else np.unique(labels)
    members = [np.arange(len(images)) if labels is None else np.flatnonzero(labels == value) for value in values]
    random = np.random.default_rng(derive_seed(seed, "prior"))
    noise = generator(seed, "prior")
    weights, means, deviations, sizes = [], [], [], []
    with threadpool_limits(1):  # more threads add sums in another order, and so small products gain nothing from them
        for done, group in enumerate(members, 1):
            chosen = np.sort(random.permutation(group)[:_MOST_IMAGES])
            draws = _posterior_draws(model, images[chosen], noise, batch)
            size, (weight, mean, deviation) = _fit_group(draws, int(random.integers(2**31)))
            weights.append(weight / weight.sum() * len(group))
            means.append(mean)
            deviations.append(deviation)
            sizes.append(size)
            advance(done, len(members))
    names = (
        () if labels is None else tuple(str(value) if class_names is None else class_names[value] for value in values)
    )
    prior = Prior.of_mixture(
        np.concatenate(weights),
        np.concatenate(means),
        np.concatenate(deviations),
        np.repeat(np.arange(len(sizes)), sizes) if names else None,
        names,
    )
    return FittedPrior(prior, tuple(sizes), time.perf_counter() - started)


@torch.no_grad()
def _posterior_draws(model: Encodes, images: npt.NDArray[np.uint8], noise: torch.Generator, batch: int) -> _Draws:
    """Draws from q(z|x) of each image, the same number of each: float32 (N, draws, L)."""
    device = next(model.parameters()).device
    draws = min(_MOST_DRAWS, max(1, _POINTS // len(images)))
    parts: list[Tensor] = []
    for start in range(0, len(images), batch):
        mean, log_var = model.encode(to_float(torch.tensor(images[start : start + batch], device=device)))
        mean, deviation = mean.cpu()[:, None], (log_var.cpu() / 2).exp()[:, None]
        parts.append(mean + deviation * torch.randn(len(mean), draws, mean.shape[2], generator=noise))
    return torch.cat(parts).numpy()


def _fit_group(draws: _Draws, seed: int) -> tuple[int, tuple[npt.NDArray[np.float64], ...]]:
    """The number of components that says most about held-out images, and weights, means and standard deviations of so
    many, fitted to all. draws: (N, draws, L)."""
    size = _best_size(draws, seed)
    fitted = _fit(draws.reshape(-1, draws.shape[2]), size, seed, _ITERATIONS)
    arrays = fitted.weights_, fitted.means_, np.sqrt(fitted.covariances_)
    return size, tuple(np.asarray(array, np.float64) for array in arrays)


def _best_size(draws: _Draws, seed: int) -> int:
    """The size whose mixture, fitted to part of the images, gives the others the highest mean log-density."""
    held_out = len(draws) // _HELD_OUT
    if held_out < _FEWEST_HELD_OUT:
        return SIZES[0]
    order = np.random.default_rng(seed).permutation(len(draws))
    seen, unseen = (draws[part].reshape(-1, draws.shape[2]) for part in (order[held_out:], order[:held_out]))
    scores: list[float] = []
    for size in SIZES:
        if size > len(order) - held_out:  # a component for each image would be a copy of it
            break
        scores.append(float(_fit(seen, size, seed, _SELECTION_ITERATIONS).score(unseen)))
        if len(scores) > 2 and scores[-1] < scores[-2] < scores[-3]:
            break
    return SIZES[int(np.argmax(scores))]


def _fit(points: _Draws, size: int, seed: int, iterations: int):  # type: ignore[no-untyped-def]  # untyped upstream
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the iterations are limited on purpose
        return GaussianMixture(
            size,
            covariance_type="diag",
            init_params="k-means++",
            reg_covar=_SMALLEST_VARIANCE,
            max_iter=iterations,
            random_state=seed,
        ).fit(points)
