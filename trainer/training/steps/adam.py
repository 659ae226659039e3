"""Adam's fused operator on parts of one vector of weights, with clipping as a factor inside it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Adam:
    """Updates ranges of the weights with what `optimizer` remembers, so that its `state_dict` stays the checkpoint's.

    `torch.optim.Adam.step` calls the same operator, but on the whole vector, after more work in Python, and after a
    separate pass over the gradient if it is clipped.
    """

    def __init__(self, weights: nn.Parameter, optimizer: torch.optim.Optimizer) -> None:
        assert weights.grad is not None
        self.weights, self.gradient = weights.detach(), weights.grad
        self.options = optimizer.param_groups[0]
        memory = optimizer.state[weights]
        if not memory:  # the same tensors that `torch.optim.Adam` makes in its first step
            memory["step"] = torch.zeros((), dtype=torch.float32)
            memory["exp_avg"] = torch.zeros_like(self.weights)
            memory["exp_avg_sq"] = torch.zeros_like(self.weights)
        self.memory = memory

    def count_step(self) -> None:
        """Once in each step, before `update`: the number of steps corrects the bias of the moments."""
        self.memory["step"] += 1

    def update(self, part: slice, scale: Tensor | None) -> None:
        """Update one range of the weights from the same range of the gradient.

        scale: (), by which the gradient is divided, in place.
        """
        if scale is not None and self.weights.dtype != torch.float32:  # the operator reads its scale as float32
            self.gradient[part].div_(scale)
            scale = None
        beta1, beta2 = self.options["betas"]
        torch._fused_adam_(
            [self.weights[part]],
            [self.gradient[part]],
            [self.memory["exp_avg"][part]],
            [self.memory["exp_avg_sq"][part]],
            [],
            [self.memory["step"]],
            lr=self.options["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=self.options["weight_decay"],
            eps=self.options["eps"],
            amsgrad=False,
            maximize=False,
            grad_scale=scale,
        )
