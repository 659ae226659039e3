"""Many steps as one TorchScript program in each thread, with the barriers inside it.

Between two phases in Python a thread needs the GIL, which another one holds just then: on two cores of an EPYC (Zen 4)
it wakes 60 to 110 µs later, three times in a step of 4 ms. Here threads meet without Python. A thread that comes first
polls the others' counters, and after a while sleeps in between, because the thread that it waits for may have no
processor.
"""

import platform
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from trainer.training.steps.adam import Adam, adam_
from trainer.training.steps.mlp import MlpGradient
from trainer.training.steps.program import Program, scripted
from trainer.training.steps.step import part
from trainer.training.steps.tactics import Tactic
from trainer.training.steps.workers import Workers

_POLLS = {Tactic.PATIENT: 2000, Tactic.HASTY: 400}  # before the first nap; a poll takes 0.1 to 0.25 µs
NAP_SECONDS = 100e-6
_FAILED = 2**62  # a counter that nobody waits for

STORES_IN_ORDER = platform.machine().lower() in ("x86_64", "amd64")
"""Whether a thread that sees a counter also sees what was written before it. ARM, for one, promises no such order."""


class Together:
    """Steps on batches of which each thread has a part, with the operators of `SplitStep`'s phases in their order."""

    def __init__(
        self,
        gradient: MlpGradient,
        adam: Adam,
        *,
        clip_norm: float | None,
        rounded: Sequence[Sequence[tuple[Tensor, Tensor]]],
        totals: Tensor,
    ) -> None:
        """rounded: for each share, ranges of the weights and of their copy in bf16, which is renewed after the step."""
        self.gradient, self.adam, self.clip_norm = gradient, adam, clip_norm
        self.parts = len(gradient.shares)
        self.rounded, self.totals = rounded, totals
        self.sums = [torch.zeros(3, dtype=adam.dtype) for _ in range(self.parts)]
        self.squares = [torch.zeros((), dtype=adam.dtype) for _ in range(self.parts)]
        # How far each thread is, in a cache line of its own.
        self.counters = [torch.zeros(16, dtype=torch.int64)[0] for _ in range(self.parts)]
        self.count = 0
        self.meetings = 3 if clip_norm is not None else 2
        """In each step."""
        self.naps = [0] * self.parts
        """Of each thread in the last call, or perhaps in the one before: the others end after the calling thread."""
        self.programs: dict[int, list[Callable[..., int]]] = {}
        self._failed = False

    def can_step(self, images: int, workers: Workers) -> bool:
        """Whether each of the threads has images of such a batch, and none has ever failed."""
        return images >= self.parts and workers.count == self.parts and not self._failed

    def steps(
        self, pixels: Tensor, noise: Tensor, kl_weights: Sequence[float], workers: Workers, tactic: Tactic
    ) -> float:
        """Gradient, clip and Adam for each batch, see `Step`. Adds to `totals`.

        tactic: PATIENT or HASTY. Returns the seconds that it took, without compilation.
        """
        images = len(pixels) // len(kl_weights)
        weights = torch.tensor(kl_weights, dtype=noise.dtype)
        if images not in self.programs:
            first = pixels[:images], noise[:images], weights[0]
            self.programs[images] = [self._program(i, *first) for i in range(self.parts)]
        programs, numbers, count = self.programs[images], self.adam.numbers(), self.count

        def run(i: int) -> None:
            try:
                self.naps[i] = programs[i](pixels, noise, weights, numbers, count, _POLLS[tactic])
            except BaseException as error:
                self._fail(i)
                if "KeyboardInterrupt" in str(error):  # a RuntimeError, which TorchScript makes of what a nap raises
                    raise KeyboardInterrupt from None
                raise
            if i == 0 and self._failed:
                raise RuntimeError("another thread has failed")

        started = time.perf_counter()
        self.count += self.meetings * len(kl_weights)
        workers.at_once(run, give_up=lambda: self._fail(0))
        return time.perf_counter() - started

    def _fail(self, i: int) -> None:
        """Let nobody wait for thread i. Its step is incomplete, so the counters are of no use from then on."""
        self._failed = True
        self.counters[i].fill_(_FAILED)

    def _program(self, i: int, pixels: Tensor, noise: Tensor, kl_weight: Tensor) -> Callable[..., int]:
        """Part i's steps as a function of what differs from call to call."""
        batch, rows = self.gradient.of_batch(len(pixels)), part(i, self.parts, len(pixels))
        images, weights = batch.images[i], batch.weights[i]
        program = _scripted_steps(images.compiled(pixels[rows], noise[rows], kl_weight), weights.compiled())
        fixed = [
            len(pixels),
            rows.start,
            rows.stop,
            images.fixed,
            weights.fixed,
            i,
            self.counters,
            self.totals,
            self.sums,
            self.squares,
            self.clip_norm,
            *self.adam.shares[i],
            self.gradient.gradients[i],
            self.adam.steps,
            [each for each, _ in self.rounded[i]],
            [each for _, each in self.rounded[i]],
        ]
        return lambda *changing: program(*changing, *fixed)


def clip_scale(squares: list[Tensor], largest: float) -> Tensor:
    """What a gradient is divided by so that its norm is at most `largest`. squares: its parts' squared norms, ()."""
    return torch.stack(squares).sum().sqrt_().clamp_min_(largest).div_(largest)


def _scripted_steps(of_images: Program, of_weights: Program) -> Callable[..., int]:
    """The steps of thread i, which return the number of its naps."""

    def steps(
        pixels: Tensor,
        noise: Tensor,
        kl_weights: Tensor,
        numbers: list[float],
        count: int,
        most_polls: int,
        images: int,
        first_row: int,
        end_row: int,
        images_fixed: list[Tensor],
        weights_fixed: list[Tensor],
        i: int,
        counters: list[Tensor],
        totals: Tensor,
        sums: list[Tensor],
        squares: list[Tensor],
        clip_norm: float | None,
        weights: list[Tensor],
        means: list[Tensor],
        mean_squares: list[Tensor],
        gradients: list[Tensor],
        adam_steps: Tensor,
        exact: list[Tensor],
        rounded: list[Tensor],
    ) -> int:
        naps = 0
        for k in range(len(kl_weights)):
            # ---- gradient by images ----
            first, end = k * images + first_row, k * images + end_row
            sums[i].copy_(of_images(pixels[first:end], noise[first:end], kl_weights[k], images_fixed)[0])
            if i == 0:
                adam_steps += 1
            naps += _meet(counters, i, count + 1, most_polls)

            # ---- gradient by weights ----
            if i == 0:
                for each in sums:
                    totals += each
            flat = of_weights(weights_fixed)[0]

            # ---- clip ----
            scale: Tensor | None = None
            if clip_norm is not None:
                squares[i].copy_(torch.dot(flat, flat))
                count += 1
                naps += _meet(counters, i, count + 1, most_polls)
                scale = clip_scale(squares, clip_norm)

            # ---- Adam ----
            adam_(weights, means, mean_squares, gradients, adam_steps, numbers, scale)
            for j in range(len(rounded)):
                rounded[j].copy_(exact[j])
            count += 2
            naps += _meet(counters, i, count, most_polls)
        return naps

    return scripted(steps)


def _meet(counters: list[Tensor], i: int, count: int, most_polls: int) -> int:
    """Thread i waits until all have come as far as `count`. Returns how often it has slept."""
    counters[i].fill_(count)
    naps = 0
    for counter in counters:
        polls = 0
        while int(counter) < count:
            polls += 1
            if polls > most_polls:
                _nap()
                naps += 1
    return naps


@torch.jit.ignore  # type: ignore[untyped-decorator]
def _nap() -> None:
    time.sleep(NAP_SECONDS)
