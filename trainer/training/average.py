"""An exponential moving average of the weights: steadier than the weights of the last step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class Average:
    """Follows the flat vector of weights: average ← d · average + (1 − d) · weights after each step.

    d is min(decay, (1 + n) / (10 + n)) in step n, so that the first steps are forgotten soon: the rule
    of TensorFlow's ExponentialMovingAverage.
    """

    def __init__(self, weights: Tensor, decay: float) -> None:
        """weights: float32 (P,), see `flatten_parameters`; the average starts as a copy. decay: from 0, below 1."""
        self.weights, self.decay = weights, decay
        self.values = weights.clone()
        self.steps = 0

    def update(self) -> None:
        """Average in the weights, after a training step."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.values.lerp_(self.weights, 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has the averaged weights inside the block, and its own again after it."""
        own = self.weights.clone()
        self.weights.copy_(self.values)
        try:
            yield
        finally:
            self.weights.copy_(own)

    def state(self) -> dict[str, object]:
        """What resuming needs besides the averaged model: the weights in training, and the number of steps."""
        return {"weights": self.weights.clone(), "steps": self.steps}

    def restore(self, state: dict[str, object]) -> None:
        """Continue from `state`; the model must hold the averaged weights, which it then exchanges for its own."""
        weights, steps = state["weights"], state["steps"]
        assert isinstance(weights, torch.Tensor)
        assert isinstance(steps, int)
        self.values.copy_(self.weights)
        self.weights.copy_(weights)
        self.steps = steps
