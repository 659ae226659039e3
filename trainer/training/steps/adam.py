"""Adam's fused operator on shares of one vector of weights, with clipping as a factor inside it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Adam:
    """Updates shares of the weights with what `optimizer` remembers, so that its `state_dict` stays the checkpoint's.

    `torch.optim.Adam.step` calls the same operator, but on the whole vector, after more work in Python, and after a
    separate pass over the gradient if it is clipped.
    """

    def __init__(
        self, weights: nn.Parameter, optimizer: torch.optim.Optimizer, shares: Sequence[Sequence[slice]]
    ) -> None:
        """shares: the ranges of the weights that are updated together."""
        self.options = optimizer.param_groups[0]
        memory = optimizer.state[weights]
        if not memory:  # the same tensors that `torch.optim.Adam` makes in its first step
            memory["step"] = torch.zeros((), dtype=torch.float32)
            memory["exp_avg"] = torch.zeros_like(weights)
            memory["exp_avg_sq"] = torch.zeros_like(weights)
        self.steps: Tensor = memory["step"]
        self.shares = [
            tuple(
                [vector[each] for each in share]
                for vector in (weights.detach(), memory["exp_avg"], memory["exp_avg_sq"])
            )
            for share in shares
        ]

    def count_step(self) -> None:
        """Once in each step, before `update`: the number of steps corrects the bias of the moments."""
        self.steps += 1

    def update(self, i: int, gradients: Sequence[Tensor], scale: Tensor | None) -> None:
        """Update share i of the weights.

        gradients: one for each range of the share, a vector. scale: (), by which they are divided, in place.
        """
        weights, means, squares = self.shares[i]
        if scale is not None and weights[0].dtype != torch.float32:  # the operator reads its scale as float32
            torch._foreach_div_(list(gradients), scale)
            scale = None
        beta1, beta2 = self.options["betas"]
        torch._fused_adam_(
            weights,
            list(gradients),
            means,
            squares,
            [],
            [self.steps] * len(weights),
            lr=self.options["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=self.options["weight_decay"],
            eps=self.options["eps"],
            amsgrad=False,
            maximize=False,
            grad_scale=scale,
        )
