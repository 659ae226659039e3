"""The training step as one CUDA graph: a small model's step is some hundred kernels of microseconds, and starting them
one by one costs more than running them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from trainer.training.steps.autograd import AutogradStep

_WARM_UP_STEPS = 3  # what torch's documentation asks for before a capture
_COMPARED_STEPS = 2

Record = Callable[[Callable[[], object]], Callable[[], object]]


class GraphStep:
    """Copies a batch into buffers that never move, and replays the step on them.

    The first full batch is recorded. It is then trained on with the graph and without it, twice from the same state,
    and where both end with the same weights and totals, training goes on with the graph. Where they differ, or cannot
    be recorded, a warning says so and the plain step is used. Afterwards everything that training changes is put back.
    A batch of another size, such as the last of an epoch, is trained on without the graph.
    """

    at_once = 1
    library: str | None = None

    def __init__(self, step: AutogradStep, batch_size: int, record: Record | None = None) -> None:
        """record: returns what replays its argument; None records a CUDA graph."""
        self.step, self.batch_size = step, batch_size
        self.totals = step.totals
        self._record = record_cuda_graph if record is None else record
        self._replay: Callable[[], object] | None = None

    def __call__(self, pixels: Tensor, noise: Tensor, kl_weights: Sequence[float]) -> None:
        """See `Step`."""
        if len(pixels) != self.batch_size:
            self.step(pixels, noise, kl_weights)
            return
        (kl_weight,) = kl_weights
        if self._replay is None:
            self.pixels, self.noise = pixels.clone(), noise.clone()
            self.kl_weight = torch.full((), kl_weight, dtype=torch.float32, device=pixels.device)
            self._replay = self._checked_replay()
        self.pixels.copy_(pixels)
        self.noise.copy_(noise)
        self.kl_weight.fill_(kl_weight)
        self._replay()

    def _run(self) -> None:
        self.step(self.pixels, self.noise, [self.kl_weight])

    def _checked_replay(self) -> Callable[[], object]:
        """The graph's replay if that trains as the plain step does, otherwise the plain step."""
        restore = self._snapshot()
        try:
            replay = self._record(self._run)
            restore()
            by_graph = self._train(replay)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            warnings.warn(f"training goes on without a CUDA graph, which could not be recorded: {reason}", stacklevel=4)
            restore()
            return self._run
        restore()
        by_step = self._train(self._run)
        restore()
        for name in by_step:
            # Twice the rounding of sums in another order, which kernels may choose anew for each launch.
            if not torch.allclose(by_graph[name], by_step[name], rtol=1e-4, atol=1e-5):
                difference = (by_graph[name] - by_step[name]).abs().max().item()
                warnings.warn(
                    f"training goes on without the CUDA graph: after {_COMPARED_STEPS} steps its {name} differ from "
                    f"those without it by up to {difference:.1e}",
                    stacklevel=4,
                )
                return self._run
        return replay

    def _train(self, run: Callable[[], object]) -> dict[str, Tensor]:
        """What some steps lead to, from the present state."""
        for _ in range(_COMPARED_STEPS):
            run()
        return {"totals": self.totals.clone(), "weights": self.step.weights.detach().clone()}

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


def record_cuda_graph(run: Callable[[], object]) -> Callable[[], object]:
    """Warm up, record what `run` launches, and return what replays it. Raises RuntimeError where that fails."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(_WARM_UP_STEPS):
            run()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):  # records, and changes nothing
        run()
    return graph.replay
