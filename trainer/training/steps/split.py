"""The training step on the CPU: parts of the batch side by side, then shares of the weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from trainer.training.steps.adam import Adam
from trainer.training.steps.mlp import MlpGradient
from trainer.training.steps.step import Gradient
from trainer.training.steps.tactics import Tactic, Tactics
from trainer.training.steps.together import NAP_SECONDS, STORES_IN_ORDER, Together, clip_scale
from trainer.training.steps.workers import Workers

ForEach = Callable[[Callable[[int], None], int], None]


class SplitStep:
    """Gradient by images, gradient by weights, clip, Adam: three barriers, or two where nothing is clipped.

    Steps of an MLP are made by `Together`, without Python between the phases, unless one thread alone is faster.
    The number of parts is fixed and so is the order of every sum: which thread computes what, and whether there is a
    second thread at all, changes no bit.
    """

    def __init__(
        self,
        weights: nn.Parameter,
        optimizer: torch.optim.Optimizer,
        gradient: Gradient,
        workers: Workers,
        *,
        clip_norm: float | None,
        rounded: Tensor | None = None,
        at_once: int = 1,
    ) -> None:
        """rounded: a copy of the weights in bf16, renewed here after each step. at_once: batches that a call should
        take at most, where it can do them without Python."""
        self.gradient, self.workers, self.clip_norm = gradient, workers, clip_norm
        self.adam = Adam(weights, optimizer, gradient.shares)
        self.totals = torch.zeros(3, dtype=torch.float64)
        self.parts = len(gradient.shares)
        self._sums = [self.totals] * self.parts
        self._squares = [self.totals] * self.parts
        self._gradients: list[Sequence[Tensor]] = [()] * self.parts
        self._rounded = [
            [(weights.detach()[each], rounded[each]) for each in share] if rounded is not None else []
            for share in gradient.shares
        ]
        self.together: Together | None = None
        if STORES_IN_ORDER and isinstance(gradient, MlpGradient):
            self.together = Together(
                gradient, self.adam, clip_norm=clip_norm, rounded=self._rounded, totals=self.totals
            )
        self.tactics = Tactics()
        self.at_once = at_once if self.together is not None else 1
        self.library = gradient.products.library if isinstance(gradient, MlpGradient) else None

    @torch.no_grad()
    def __call__(self, pixels: Tensor, noise: Tensor, kl_weights: Sequence[float]) -> None:
        """See `Step`."""
        together, images = self.together, len(pixels) // len(kl_weights)
        if together is None or not together.can_step(images, self.workers):
            self._in_phases(pixels, noise, kl_weights)
            return
        if self.tactics.tactic is Tactic.ALONE:
            started = time.perf_counter()
            self._in_phases(pixels, noise, kl_weights, alone=True)
            seconds, asleep = time.perf_counter() - started, 0.0
        else:
            seconds = together.steps(pixels, noise, kl_weights, self.workers, self.tactics.tactic)
            asleep = NAP_SECONDS * max(together.naps)
        self.tactics.count(seconds, asleep, together.meetings * len(kl_weights))

    def _in_phases(self, pixels: Tensor, noise: Tensor, kl_weights: Sequence[float], *, alone: bool = False) -> None:
        """Steps whose tasks are done by whichever thread is free, or by this one alone."""
        images = len(pixels) // len(kl_weights)
        for i, kl_weight in enumerate(kl_weights):
            rows = slice(i * images, (i + 1) * images)
            self._step_in_phases(pixels[rows], noise[rows], kl_weight, partial(self.workers.for_each, alone=alone))

    def _step_in_phases(self, pixels: Tensor, noise: Tensor, kl_weight: float, for_each: ForEach) -> None:
        """A step on one batch. for_each: calls a task for each number below a number of them."""
        scale = None

        def differentiate(i: int) -> None:
            self._sums[i] = self.gradient.of_images(i, pixels, noise, kl_weight)

        def complete(i: int) -> None:
            self._gradients[i], flat = self.gradient.of_weights(i)
            if self.clip_norm is not None:
                self._squares[i] = torch.dot(flat, flat)

        def update(i: int) -> None:
            self.adam.update(i, self._gradients[i], scale)
            for weights, rounded in self._rounded[i]:
                rounded.copy_(weights)

        def complete_and_update(i: int) -> None:
            complete(i)
            update(i)

        self.adam.count_step()
        for_each(differentiate, self.parts)
        if self.clip_norm is None:
            for_each(complete_and_update, self.parts)
        else:
            for_each(complete, self.parts)
            scale = clip_scale(self._squares, self.clip_norm)
            for_each(update, self.parts)
        for sums in self._sums:
            self.totals += sums
