"""Matrix products on the CPU, by one of two libraries in torch.

`mm` and `addmm` call torch's BLAS, on x86 MKL, which chooses its code by the processor's vendor. oneDNN, which torch
uses for convolutions, goes by instruction sets. On one core of an AMD EPYC of 2024 (Zen 5) MKL takes twice the time of
oneDNN for (128, 784) × (784, 256); on an Intel Xeon of 2023 (Emerald Rapids) it takes 0.8 of oneDNN's for a layer.

Products of bfloat16 are oneDNN's in any case: with bias and activation by its inner product; without either by that or,
as `mm` does it, by its matmul, which takes 0.8 of the time on an Intel Xeon with a matrix unit (AMX).
"""

from __future__ import annotations

import torch
from torch import Tensor

ONEDNN, BLAS = "onednn", "blas"

_HAS_ONEDNN = bool(torch.backends.mkldnn.is_available())
_SMALL = 2**19  # multiplications; up to here MKL is faster on AMD too: 11 to 12 against 15 to 23 µs on Zen 5

# The operator that torch's own compiler emits; it adds bias and activation while the result is in cache. Written in
# TorchScript, because `torch.jit.trace` cannot record the empty list among its arguments.
_onednn_linear = torch.jit.CompilationUnit("""
def linear(x: Tensor, weight: Tensor, bias: Optional[Tensor], activation: str) -> Tensor:
    scalars = torch.jit.annotate(List[Optional[number]], [])
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, activation, scalars, "")
""").linear


class Products:
    """Products without a gradient: float32 and bfloat16 by one library or the other, other dtypes by BLAS."""

    def __init__(self, library: str) -> None:
        """library: `ONEDNN` or `BLAS`, see `product_speed.fastest_library`. The former only where torch has it."""
        self.library = library if _HAS_ONEDNN else BLAS

    def linear(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        activation: str = "none",
        out: Tensor | None = None,
    ) -> Tensor:
        """x weightᵀ + bias, then perhaps an activation: (N, inputs), (outputs, inputs), (outputs,) → (N, outputs).

        activation: none, relu or tanh. out: where the result is written.
        """
        if self._by_onednn(x, len(weight)) or (_HAS_ONEDNN and x.is_cpu and x.dtype == torch.bfloat16):
            result: Tensor = _onednn_linear(x, weight, bias, activation)
            return result if out is None else out.copy_(result)
        result = torch.mm(x, weight.t(), out=out) if bias is None else torch.addmm(bias, x, weight.t(), out=out)
        if activation == "none":
            return result
        return result.relu_() if activation == "relu" else result.tanh_()

    def matmul(self, a: Tensor, b: Tensor, *, out: Tensor | None = None) -> Tensor:
        """a b: (N, K), (K, M) → (N, M). out: where the result is written."""
        if self._by_onednn(a, b.shape[1]):
            return self.linear(a, b.t(), out=out)
        return torch.mm(a, b, out=out)

    def _by_onednn(self, x: Tensor, outputs: int) -> bool:
        """Whether oneDNN multiplies x, (N, inputs), by a matrix (inputs, outputs)."""
        if self.library == BLAS or not x.is_cpu:
            return False
        is_large = x.shape[0] * x.shape[1] * outputs > _SMALL
        return x.dtype == torch.bfloat16 or (x.dtype == torch.float32 and is_large)


def has_bf16(device: torch.device) -> bool:
    """Whether products of bfloat16 are possible on `device`. They may be slower than those of float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return _HAS_ONEDNN and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
