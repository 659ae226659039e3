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
        self.options, self.dtype = optimizer.param_groups[0], weights.dtype
        memory = optimizer.state[weights]
        if not memory:  # the same tensors that `torch.optim.Adam` makes in its first step
            memory["step"] = torch.zeros((), dtype=torch.float32)
            memory["exp_avg"] = torch.zeros_like(weights)
            memory["exp_avg_sq"] = torch.zeros_like(weights)
        self.steps: Tensor = memory["step"]
        vectors = weights.detach(), memory["exp_avg"], memory["exp_avg_sq"]
        self.shares: list[tuple[list[Tensor], list[Tensor], list[Tensor]]] = []
        """Ranges of the weights and of their two moments."""
        for share in shares:
            own, means, squares = ([vector[each] for each in share] for vector in vectors)
            self.shares.append((own, means, squares))

    def count_step(self) -> None:
        """Once in each step, before `update`: the number of steps corrects the bias of the moments."""
        self.steps += 1

    def update(self, i: int, gradients: Sequence[Tensor], scale: Tensor | None) -> None:
        """Update share i of the weights.

        gradients: one for each range of the share, a vector. scale: (), by which they are divided, in place.
        """
        adam_(*self.shares[i], list(gradients), self.steps, self.numbers(), scale)

    def numbers(self) -> list[float]:
        """Adam's hyperparameters of this epoch, as `adam_` takes them."""
        beta1, beta2 = self.options["betas"]
        return [self.options["lr"], beta1, beta2, self.options["weight_decay"], self.options["eps"]]


def adam_(
    weights: list[Tensor],
    means: list[Tensor],
    squares: list[Tensor],
    gradients: list[Tensor],
    steps: Tensor,
    numbers: list[float],
    scale: Tensor | None,
) -> None:
    """Update ranges of the weights in place, with their moments. TorchScript compiles this function too.

    steps: (), done so far, with this one. numbers: learning rate, beta1, beta2, weight decay, epsilon. scale: (), by
    which the gradients are divided.
    """
    if scale is not None and weights[0].dtype != torch.float32:  # the operator reads its scale as float32
        torch._foreach_div_(gradients, scale)
        scale = None
    torch._fused_adam_(
        weights,
        gradients,
        means,
        squares,
        [],
        [steps] * len(weights),
        lr=numbers[0],
        beta1=numbers[1],
        beta2=numbers[2],
        weight_decay=numbers[3],
        eps=numbers[4],
        amsgrad=False,
        maximize=False,
        grad_scale=scale,
    )
