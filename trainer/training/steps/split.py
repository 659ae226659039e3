"""The training step on the CPU: parts of the batch side by side, then parts of the weights."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn

from trainer.training.steps.adam import Adam
from trainer.training.steps.program import Program, without_python
from trainer.training.steps.step import PartGradient
from trainer.training.steps.workers import Workers


class SplitStep:
    """Gradients of parts of the batch, their sum, clip, Adam: three barriers.

    The number of parts is fixed and so is the order of every sum: which thread computes what, and whether there is a
    second thread at all, changes no bit.
    """

    def __init__(
        self,
        weights: nn.Parameter,
        optimizer: torch.optim.Optimizer,
        gradients: Sequence[PartGradient],
        workers: Workers,
        *,
        clip_norm: float | None,
        rounded: Tensor | None = None,
    ) -> None:
        """gradients: one for each part of the batch.

        rounded: a copy of the weights in bf16, renewed here after each step.
        """
        assert weights.grad is not None
        self.weights, self.gradient = weights.detach(), weights.grad
        self.adam = Adam(weights, optimizer)
        self.gradients, self.workers = gradients, workers
        self.clip_norm, self.rounded = clip_norm, rounded
        self.totals = torch.zeros(3, dtype=torch.float64)
        parts = len(gradients)
        self._sums = [self.totals] * parts
        self._squares = [self.totals] * parts
        self._programs: dict[int, Program] = {}
        self._ranges = [(len(self.weights) * i // parts, len(self.weights) * (i + 1) // parts) for i in range(parts)]

    @torch.no_grad()
    def __call__(self, pixels: Tensor, noise: Tensor, kl_weight: float) -> None:
        """See `Step`."""
        parts, images = len(self.gradients), len(pixels)

        def differentiate(i: int) -> None:
            part = slice(images * i // parts, images * (i + 1) // parts)
            self._sums[i] = self.gradients[i](pixels[part], noise[part], kl_weight)

        def add_up(i: int) -> None:
            start, end = self._ranges[i]
            arguments = self.gradient[start:end], *(piece for each in self.gradients for piece in each.pieces)
            if i not in self._programs:
                sizes = [piece.numel() for piece in self.gradients[0].pieces]
                self._programs[i] = without_python(_sum_of_range(start, end, parts, sizes), arguments)
            (self._squares[i],) = self._programs[i](*arguments)

        def update(i: int) -> None:
            start, end = self._ranges[i]
            self.adam.update(slice(start, end), scale)
            if self.rounded is not None:
                self.rounded[start:end].copy_(self.weights[start:end])

        self.workers.for_each(differentiate, parts)
        self.workers.for_each(add_up, parts)
        scale = None
        if self.clip_norm is not None:
            norm = torch.stack(self._squares).sum().sqrt_()
            scale = norm.clamp_min_(self.clip_norm).div_(self.clip_norm)
        self.adam.count_step()
        self.workers.for_each(update, parts)
        for sums in self._sums:
            self.totals += sums


def _sum_of_range(start: int, end: int, parts: int, sizes: Sequence[int]) -> Program:
    """A function that adds up numbers `start` to `end` of vectors, each of which comes in pieces of `sizes`.

    It takes where the sum goes, (end − start,), and the pieces of each part, one part after the other. It returns the
    sum's squared norm, ().
    """
    bounds = [0, *accumulate(sizes)]

    def add_up(out: Tensor, *pieces: Tensor) -> tuple[Tensor]:
        for piece, (first, last) in enumerate(pairwise(bounds)):
            low, high = max(start, first), min(end, last)
            if low >= high:
                continue
            target = out[low - start : high - start]
            one, *others = [
                pieces[part * len(sizes) + piece].view(-1)[low - first : high - first] for part in range(parts)
            ]
            if others and one.dtype == target.dtype:
                torch.add(one, others.pop(0), out=target)
            else:
                target.copy_(one)
            for other in others:
                target += other
        return (torch.dot(out, out),)

    return add_up
