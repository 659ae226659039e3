"""The training step on the CPU: parts of the batch side by side, then parts of the weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainer.training.steps.adam import Adam
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
            gradient = self.gradient[start:end]
            _sum_range([each.pieces for each in self.gradients], start, end, out=gradient)
            if self.clip_norm is not None:
                self._squares[i] = torch.dot(gradient, gradient)

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


def _sum_range(parts: Sequence[Sequence[Tensor]], start: int, end: int, *, out: Tensor) -> None:
    """Write the sum over parts of numbers `start` to `end` of the vector that the pieces of each part make up.

    parts: for each part the same number of pieces, of the same sizes. out: (end − start,).
    """
    offset = 0
    for pieces in zip(*parts, strict=True):
        size = pieces[0].numel()
        low, high = max(start - offset, 0), min(end - offset, size)
        if low < high:
            target = out[offset + low - start : offset + high - start]
            first, *others = [piece.view(-1)[low:high] for piece in pieces]
            if len(others) and first.dtype == target.dtype:
                torch.add(first, others.pop(0), out=target)
            elif first.data_ptr() != target.data_ptr():
                target.copy_(first)
            for other in others:
                target += other
        offset += size
