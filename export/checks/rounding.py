"""What float32 can do for a graph: its float64 evaluation with the rounding errors of float32 added by chance.

An engine may order the terms of a sum as it likes. The least exact order of practical engines is one accumulator: a sum
of K terms is rounded K times. The rounding of a partial sum p is uniform in half a unit in its last place, u·2ᵉ with u
= 2⁻²⁴ and 2ᵉ ≤ |p| < 2ᵉ⁺¹; with p log-uniform between these, its variance is u²p²/(8 ln 2). For a result r whose terms
have the root sum of squares s, the partial sums are a random walk that ends in r: p_k² ≈ (k/K)²r² + (k/K)(1 − k/K)s².
So the error has the variance u²·K/(8 ln 2)·(r²/3 + s²/6). It is drawn as a normal number; statistics of normalisation
and means are such sums too, and the error of a group's statistic is shared by the group. Equal terms, as those of a
black image, are rounded alike, step after step, and their errors add up; so to the error of a mean that of its sum in
order, in float32, is added. Every other operation is given a relative error of standard deviation u. This is the
probabilistic rounding error analysis of Higham & Mary 2019 ("A new approach to probabilistic rounding error analysis",
SIAM J. Sci. Comput. 41), by sampling.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

UNIT_ROUNDOFF = 2.0**-24
_VARIANCE = 1 / (8 * math.log(2))  # of one rounding, in units of u²p²
_TERMS_AT_ONCE = 4096  # of a sum in order, which keeps every partial sum
_aten = torch.ops.aten


class Float32Rounding(TorchDispatchMode):
    """Within this context, float64 operations err as float32 ones with one accumulator do.

    `contractions` counts the matrix products and convolutions that ran; `normalises` says whether anything was divided
    by a deviation that was computed.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._generator = torch.Generator().manual_seed(seed)
        self.contractions = 0
        self.normalises = False

    def __torch_dispatch__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        packet = func.overloadpacket
        output = result[0] if isinstance(result, tuple) else result
        if not isinstance(output, Tensor) or output.dtype != torch.float64 or _is_view(output, args):
            return result
        deviation = UNIT_ROUNDOFF * output.abs()
        if packet in _CONTRACTIONS:
            self.contractions += 1
            terms, squares = _squared(packet, args, kwargs or {})
            deviation = UNIT_ROUNDOFF * (terms * _VARIANCE * (output.square() / 3 + squares / 6)).sqrt()
        elif packet in (_aten.mean, _aten.sum, _aten._softmax):
            summed = args[0].numel() / max(1, output.numel()) if packet != _aten._softmax else args[0].shape[args[1]]
            scale = output.abs() if packet == _aten._softmax else func(args[0].abs(), *args[1:], **(kwargs or {}))
            deviation = UNIT_ROUNDOFF * math.sqrt(max(1.0, summed * _VARIANCE / 3)) * scale
            if packet == _aten.mean and len(args) > 1 and args[1]:
                rest = [
                    axis for axis in range(args[0].ndim) if axis - args[0].ndim not in args[1] and axis not in args[1]
                ]
                rows = args[0].permute(*rest, *(axis for axis in range(args[0].ndim) if axis not in rest))
                deviation = torch.hypot(deviation, _in_order(rows.flatten(len(rest))).reshape(output.shape))
        error = deviation * self._normal(output.shape)
        instances = (
            packet == _aten.native_batch_norm and args[5]
        )  # instance normalisation is training mode of a batch of 1
        self.normalises |= packet in _NORMALISING or instances
        if packet in (_aten.native_group_norm, _aten.native_layer_norm) or instances:
            error = error + self._statistics_error(packet, output, args)
        noisy = output + error
        return (noisy, *result[1:]) if isinstance(result, tuple) else noisy

    def _normal(self, shape: Any) -> Tensor:
        return torch.randn(shape, generator=self._generator, dtype=torch.float64)

    def _statistics_error(self, packet: Any, output: Tensor, args: tuple[Any, ...]) -> Tensor:
        """Of mean and variance in a normalisation: shared by all values of a group."""
        given = args[0]
        if packet == _aten.native_group_norm:
            weight, bias, groups = args[1], args[2], args[6]
            grouped = given.reshape(given.shape[0], groups, -1)
            per_channel = (1, -1, *[1] * (given.ndim - 2))
        elif packet == _aten.native_batch_norm:
            weight, bias = args[1], args[2]
            grouped = given.flatten(2)
            per_channel = (1, -1, *[1] * (given.ndim - 2))
        else:
            weight, bias = args[2], args[3]
            grouped = given.flatten(-len(args[1]))
            per_channel = tuple(args[1])
        count = grouped.shape[-1]
        mean, variance = grouped.mean(-1, keepdim=True), grouped.var(-1, keepdim=True, correction=0)
        of_mean = (count * _VARIANCE * (mean.square() / 3 + (variance + mean.square()) / (6 * count))).sqrt()
        of_mean = torch.hypot(of_mean, _in_order(grouped)[..., None] / UNIT_ROUNDOFF)
        shift = of_mean * self._normal(mean.shape) * (variance + args[-1]).rsqrt()
        stretch = math.sqrt(count * _VARIANCE / 3) / 2 * self._normal(mean.shape)
        plain = output if bias is None else output - bias.view(per_channel)
        scale = torch.ones_like(given) if weight is None else weight.view(per_channel).expand(given.shape)
        shifts = shift.expand(grouped.shape).reshape(given.shape) * scale
        error: Tensor = UNIT_ROUNDOFF * (plain * stretch.expand(grouped.shape).reshape(given.shape) - shifts)
        return error


_NORMALISING = (_aten.native_group_norm, _aten.native_layer_norm, _aten.rsqrt, _aten.sqrt, _aten.var, _aten.std)
_CONTRACTIONS = (_aten.mm, _aten.addmm, _aten.bmm, _aten.baddbmm, _aten.convolution)


def _squared(packet: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[int, Tensor]:
    """Number of terms of each sum, and the sums of their squares."""
    if packet == _aten.convolution:
        given, weight, _, *rest = args
        transposed, groups = args[6], args[8]
        terms = weight.shape[0] // groups if transposed else weight.shape[1]
        terms *= math.prod(weight.shape[2:])
        return terms, _aten.convolution(given.square(), weight.square(), None, *rest)
    a, b = args[-2:] if packet in (_aten.addmm, _aten.baddbmm) else args[:2]
    return a.shape[-1], a.square() @ b.square()


def _in_order(terms: Tensor) -> Tensor:
    """Error of the mean over the last axis where the terms are added in order in float32: (…, K) → (…)."""
    singles = terms.numpy().astype(np.float32)
    total = np.zeros(singles.shape[:-1], np.float32)
    for part in np.array_split(singles, -(-singles.shape[-1] // _TERMS_AT_ONCE), axis=-1):
        total = np.cumsum(np.concatenate([total[..., None], part], -1), axis=-1, dtype=np.float32)[..., -1]
    return torch.from_numpy(np.abs(total - singles.sum(-1, dtype=np.float64)) / singles.shape[-1])


def _is_view(output: Tensor, args: tuple[Any, ...]) -> bool:
    """Whether nothing was computed: the output shares the memory of an input."""
    own = output.untyped_storage().data_ptr()
    return any(isinstance(given, Tensor) and given.untyped_storage().data_ptr() == own for given in args)
