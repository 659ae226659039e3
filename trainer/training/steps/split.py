"""The training step on the CPU: each worker takes its part of the batch, then its part of the weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainer.training.steps.adam import Adam
from trainer.training.steps.step import PartGradient
from trainer.training.steps.workers import Workers


class SplitStep:
    """Gradients of parts of the batch, their sum, clip, Adam: three barriers, and the order of every sum is fixed, so
    that the result depends on the number of workers and on nothing else."""

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
        """gradients: one for each worker. rounded: a copy of the weights in bf16, renewed here after each step."""
        assert weights.grad is not None
        self.weights, self.gradient = weights.detach(), weights.grad
        self.adam = Adam(weights, optimizer)
        self.gradients, self.workers = gradients, workers
        self.clip_norm, self.rounded = clip_norm, rounded
        self.totals = torch.zeros(3, dtype=torch.float64)
        self._sums: list[Tensor] = [self.totals] * workers.count
        self._squares: list[Tensor] = [self.totals] * workers.count
        self._bounds = [len(self.weights) * i // workers.count for i in range(workers.count + 1)]

    @torch.no_grad()
    def __call__(self, pixels: Tensor, noise: Tensor, kl_weight: float) -> None:
        """See `Step`."""
        parts = self.workers.count

        def work(i: int) -> None:
            # ---- the gradient of a part of the batch ----
            part = slice(len(pixels) * i // parts, len(pixels) * (i + 1) // parts)
            self._sums[i] = self.gradients[i](pixels[part], noise[part], kl_weight)
            if i == 0:
                self.adam.count_step()
            self.workers.barrier(i)

            # ---- a part of the sum of these gradients, and of its norm ----
            start, end = self._bounds[i : i + 2]
            gradient = self.gradient[start:end]
            _sum_range([each.pieces for each in self.gradients], start, end, out=gradient)
            scale = None
            if self.clip_norm is not None:
                self._squares[i] = torch.dot(gradient, gradient)
                self.workers.barrier(i)
                norm = torch.stack(self._squares).sum().sqrt_()
                scale = norm.clamp_min_(self.clip_norm).div_(self.clip_norm)

            # ---- a part of the weights ----
            self.adam.update(slice(start, end), scale)
            if self.rounded is not None:
                self.rounded[start:end].copy_(self.weights[start:end])

        self.workers.run(work)
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
