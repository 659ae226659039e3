"""Ex-post density estimation: a mixture of Gaussians fitted to the posterior, to draw from instead of N(0, I).

The aggregate posterior of a trained VAE is not N(0, I): decoding N(0, I) lands between the places that the decoder was
trained on. Fitting a density to the posteriors of the training images once training is over repairs that without
touching the model (Ghosh et al. 2020, "From variational to deterministic autoencoders", section 4).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from runtime.prior import Prior
from trainer.data.pixels import to_float
from trainer.mixture import Gaussians, Mixture, fit_mixture
from trainer.seeds import derive_seed
from trainer.threads import one_thread

SIZES = (1, 3, 10, 25, 50, 100, 200)
"""Components that a group of images may get; the held-out likelihood decides."""

POSTERIOR_SHARE = 0.1
"""Share of the posteriors' variance that the mixture describes, beside the spread of their means.

With a tenth instead of all of it, more samples are seen as the class that was drawn, 93.7 and 94.0 instead of 92.3 and
92.7 % for two models of MNIST, and FID is 2.8 and 0.2 lower (`benchmarks/prior_noise.py`). Ghosh et al. 2020 fit the
density to codes without noise; a tenth keeps components from shrinking onto the codes of a few images.
"""

_MOST_IMAGES = 60_000  # of a group; the others add nothing but time
_HELD_OUT = 6  # one image in so many
_FEWEST_HELD_OUT = 2
_HELD_OUT_DRAWS = 4  # of each of these: their log-density is an average over the posterior
_ITERATIONS = 10  # of expectation maximisation; more do not describe held-out images better
_ENCODED_AT_ONCE = 2000

_T = TypeVar("_T")
_R = TypeVar("_R")


class Map(Protocol):
    """`map`, or one that calls the function in several threads."""

    def __call__(self, function: Callable[[_T], _R], things: Iterable[_T], /) -> Iterator[_R]: ...


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
        few, many, count = min(self.sizes), max(self.sizes), self.prior.components
        each = f"{few}" if few == many else f"{few} to {many}"
        groups = f", {each} a class" if self.prior.classes else ""
        return f"mixture of {count} Gaussian{'s' * (count > 1)}{groups}, fitted in {self.seconds:.1f} s"


def fit_prior(
    model: Encodes,
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64] | None,
    *,
    seed: int,
    class_names: tuple[str, ...] | None = None,
    batch: int = _ENCODED_AT_ONCE,
    share: float = POSTERIOR_SHARE,
    advance: Callable[[int, int], object] = lambda done, groups: None,
) -> FittedPrior:
    """Fit a mixture of diagonal Gaussians to the posteriors of `images`, narrowed to a share of their variance.

    Each class is fitted by itself.

    model: in evaluation mode. images: uint8 (N, H, W, C), those of training. labels: (N,), whose values become the
    classes, in ascending order; None makes one group of all. class_names: what label i means. seed: of every draw; the
    same seed gives the same prior on one machine, whatever its number of threads. batch: images that are encoded at a
    time. advance: told after each group how many are done, and how many there are.

    Raises ValueError for a posterior that is not finite.
    """
    started = time.perf_counter()
    values = np.zeros(1, np.int64) if labels is None else np.unique(labels)
    members = [np.arange(len(images)) if labels is None else np.flatnonzero(labels == value) for value in values]
    random = np.random.default_rng(derive_seed(seed, "prior"))
    drawn = [(np.sort(random.permutation(group)[:_MOST_IMAGES]), int(random.integers(2**31))) for group in members]
    weights, means, deviations, sizes = [], [], [], []
    encoding = threading.Lock()  # somebody else's model may have a state
    with _side_by_side() as each:
        each_group: Map = each if len(members) > 1 else map
        each_size: Map = map if len(members) > 1 else each

        def fit(task: tuple[npt.NDArray[np.intp], int]) -> Mixture:
            chosen, group_seed = task
            with encoding:
                posteriors = _posteriors(model, images[chosen], batch, share)
            return _fit_group(posteriors, group_seed, each_size)

        for done, (group, found) in enumerate(zip(members, each_group(fit, drawn), strict=True), 1):
            weights.append(found.weights.numpy() * len(group))
            means.append(found.components.mean.numpy())
            deviations.append(found.components.variance.sqrt().numpy())
            sizes.append(len(found.weights))
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


@contextmanager
def _side_by_side() -> Iterator[Map]:
    """A `map` on as many threads as torch has, each with one thread of torch: more would add sums in another order."""
    pool = ThreadPoolExecutor(torch.get_num_threads(), initializer=partial(torch.set_num_threads, 1))
    with one_thread():
        try:
            yield pool.map
        finally:
            pool.shutdown(cancel_futures=True)


@torch.no_grad()
def _posteriors(model: Encodes, images: npt.NDArray[np.uint8], batch: int, share: float) -> Gaussians:
    """q(z|x) of each image with that share of its variance, on the CPU."""
    device = next(model.parameters()).device
    parts = [
        model.encode(to_float(torch.tensor(images[start : start + batch], device=device)))
        for start in range(0, len(images), batch)
    ]
    mean, log_var = (torch.cat(halves).cpu().double() for halves in zip(*parts, strict=True))
    variance = share * log_var.exp()
    if not (mean.isfinite().all() and variance.isfinite().all()):
        raise ValueError("the posterior holds NaN or infinity")
    return Gaussians(mean, variance)


def _fit_group(posteriors: Gaussians, seed: int, each_size: Map) -> Mixture:
    """A mixture of as many components as say most about held-out images, fitted to all. each_size: a `map`."""
    size = _best_size(posteriors, seed, each_size)
    return fit_mixture(posteriors, size, _ITERATIONS, torch.Generator().manual_seed(seed))


def _best_size(posteriors: Gaussians, seed: int, each_size: Map) -> int:
    """The size whose mixture, fitted to part of the images, gives the others the highest mean log-density."""
    held_out = len(posteriors) // _HELD_OUT
    if held_out < _FEWEST_HELD_OUT:
        return SIZES[0]
    random = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(posteriors), generator=random)
    seen, unseen = posteriors[order[held_out:]], posteriors[order[:held_out]].draw(_HELD_OUT_DRAWS, random)

    def score(size: int) -> float:
        fitted = fit_mixture(seen, size, _ITERATIONS, torch.Generator().manual_seed(seed))
        return float(fitted.log_density(unseen).mean())

    scores: list[float] = []
    possible = [size for size in SIZES if size <= len(seen)]  # a component for each image would be a copy of it
    for found in each_size(score, possible):
        scores.append(found)
        if len(scores) > 2 and scores[-1] < scores[-2] < scores[-3]:
            break
    return SIZES[int(np.argmax(scores))]
