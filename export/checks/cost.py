"""What a check of a model costs, and the batches that keep it within bounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from export.graphs import decoder_of, encoder_of, has_encoder
from export.halves import ForeignVAE
from trainer.model.vae import VAE

BATCHES = (1, 2, 7, 64)
_ROWS_OF_VARIANTS = 1000
_MOST_OPERATIONS = 1e10  # multiply-adds of the largest batch; the check takes some 150 times as many in all
_MOST_OPERATIONS_OF_VARIANTS = 2e11  # of a call of a variant, which is one engine in float32
_MOST_BYTES = 2**28  # of one float64 activation
_MOST_INTERPRETED = 5e7  # multiply-adds of a batch in the ONNX reference evaluator, which loops in Python


@dataclass(frozen=True)
class Cost:
    """Of one image, in the more expensive half."""

    operations: int
    """Multiply-adds of matrix products and convolutions."""
    largest: int
    """Numbers in the largest activation."""

    @property
    def batches(self) -> tuple[int, ...]:
        """The batch sizes to check: 1, 2, 7 and 64, of which those too expensive are cut to what is not."""
        most = self._within(_MOST_OPERATIONS)
        return tuple(dict.fromkeys(min(batch, most) for batch in BATCHES))

    @property
    def interpreted_batches(self) -> tuple[int, ...]:
        """Those that the ONNX reference evaluator runs; none where one image is too expensive for it."""
        most = int(_MOST_INTERPRETED / max(1, self.operations))
        return tuple(batch for batch in self.batches if batch <= most)

    @property
    def rows_of_variants(self) -> int:
        """Images that a variant is compared and timed on: 1,000, or as many as memory and time allow."""
        return min(_ROWS_OF_VARIANTS, self._within(_MOST_OPERATIONS_OF_VARIANTS))

    def _within(self, operations: float) -> int:
        """Images that one evaluation may take, at least 2."""
        return max(2, int(min(operations / max(1, self.operations), _MOST_BYTES / (8 * self.largest))))

    @property
    def rows(self) -> int:
        """Images that one float64 evaluation takes at a time."""
        return max(self.batches)


@torch.no_grad()
def cost_of(model: VAE | ForeignVAE) -> Cost:
    """Count on one image of zeros."""
    halves: list[tuple[nn.Module, Tensor]] = [(decoder_of(model), torch.zeros(1, model.config.latent_dim))]
    if has_encoder(model):
        halves.append((encoder_of(model), torch.zeros(1, *model.config.image_shape)))
    counted = []
    for half, example in halves:
        with FlopCounterMode(display=False) as flops, _Largest() as largest:
            half(example)
        counted.append((flops.get_total_flops() // 2, largest.numbers))
    return Cost(*(max(column) for column in zip(*counted, strict=True)))


class _Largest(TorchDispatchMode):
    """Remembers the size of the largest result of any operation."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.numbers = 1

    def __torch_dispatch__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for output in result if isinstance(result, tuple) else (result,):
            if isinstance(output, Tensor) and not func.is_view:  # a transposed weight is no activation
                self.numbers = max(self.numbers, output.numel())
        return result
