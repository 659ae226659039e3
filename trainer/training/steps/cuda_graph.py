"""The training step as one CUDA graph: a small model's step is some hundred kernels of microseconds, and starting them
one by one costs more than running them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from trainer.training.steps.autograd import AutogradStep

_WARM_UP_STEPS = 3  # what torch's documentation asks for before a capture


class GraphStep:
    """Copies a batch into buffers that never move, and replays the step on them.

    The first full batch is recorded; recording trains on it a few times, after which everything that training changes
    is put back. A batch of another size, such as the last of an epoch, is trained on without the graph. On a CPU the
    same buffers are used and the step is called instead of replayed, which is how it is tested there.
    """

    def __init__(self, step: AutogradStep, batch_size: int) -> None:
        self.step, self.batch_size = step, batch_size
        self.totals = step.totals
        self._replay: Callable[[], object] | None = None

    def __call__(self, pixels: Tensor, noise: Tensor, kl_weight: float) -> None:
        """See `Step`."""
        if len(pixels) != self.batch_size:
            self.step(pixels, noise, kl_weight)
            return
        if self._replay is None:
            self.pixels, self.noise = pixels.clone(), noise.clone()
            self.kl_weight = torch.full((), kl_weight, dtype=torch.float32, device=pixels.device)
            self._replay = self._record()
        self.pixels.copy_(pixels)
        self.noise.copy_(noise)
        self.kl_weight.fill_(kl_weight)
        self._replay()

    def _record(self) -> Callable[[], object]:
        restore = self._snapshot()
        if self.pixels.device.type != "cuda":
            self._run(_WARM_UP_STEPS)
            restore()
            return self._run
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            self._run(_WARM_UP_STEPS)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):  # records, and changes nothing
            self._run()
        restore()
        return graph.replay

    def _run(self, times: int = 1) -> None:
        for _ in range(times):
            self.step(self.pixels, self.noise, self.kl_weight)

    def _snapshot(self) -> Callable[[], None]:
        """A function that puts back, in place, all that a step changes."""
        step = self.step
        kept = [(tensor, tensor.clone()) for tensor in (step.weights.detach(), step.totals, *step.model.buffers())]
        remembered = {name: tensor.clone() for name, tensor in step.optimizer.state[step.weights].items()}

        def restore() -> None:
            for tensor, before in kept:
                tensor.copy_(before)
            for name, tensor in step.optimizer.state[step.weights].items():
                # An optimiser that had not stepped yet remembers nothing, and its memory starts at zero.
                tensor.copy_(remembered[name]) if name in remembered else tensor.zero_()

        return restore
