"""Matrix products on the CPU by the fastest library at hand.

For float32, torch's `mm` and `linear` call MKL, which on AMD processors takes twice the time of oneDNN, the library
that torch uses for convolutions: 535 against 275 µs for (128, 784) × (784, 256) on one core of an EPYC of 2024.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

_HAS_ONEDNN = torch.backends.mkldnn.is_available()
_ONEDNN_DTYPES = (torch.float32, torch.bfloat16)
_SMALL = 2**19  # multiplications; up to here MKL is faster on the same processor: 11 to 12 against 15 to 23 µs

# The operator that torch's own compiler emits; it adds bias and activation while the result is in cache. Written in
# TorchScript, because `torch.jit.trace` cannot record the empty list among its arguments.
_onednn_linear = torch.jit.CompilationUnit("""
def linear(x: Tensor, weight: Tensor, bias: Optional[Tensor], activation: str) -> Tensor:
    scalars = torch.jit.annotate(List[Optional[number]], [])
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, activation, scalars, "")
""").linear


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, activation: str = "none") -> Tensor:
    """x weightᵀ + bias, then perhaps an activation: (N, inputs), (outputs, inputs), (outputs,) → (N, outputs).

    activation: none, relu or tanh. float32 and bfloat16 by oneDNN on the CPU, without a gradient.
    """
    if _by_onednn(x, len(weight)):
        result: Tensor = _onednn_linear(x, weight, bias, activation)
        return result
    result = F.linear(x, weight, bias)
    if activation == "none":
        return result
    return result.relu_() if activation == "relu" else result.tanh_()


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """a b: (N, K), (K, M) → (N, M). Without a gradient."""
    return linear(a, b.t()) if _by_onednn(a, b.shape[1]) else a.mm(b)


def matmul_transposed(a: Tensor, b: Tensor) -> Tensor:
    """aᵀ b: (K, N), (K, M) → (N, M). Without a gradient."""
    return matmul(a.t(), b)


def has_bf16(device: torch.device) -> bool:
    """Whether products of bfloat16 are faster on `device` than those of float32, or at least possible."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return _HAS_ONEDNN and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _by_onednn(x: Tensor, outputs: int) -> bool:
    """Whether oneDNN multiplies x, (N, inputs), by a matrix (inputs, outputs)."""
    if not (_HAS_ONEDNN and x.is_cpu and x.dtype in _ONEDNN_DTYPES):
        return False
    return x.dtype != torch.float32 or x.shape[0] * x.shape[1] * outputs > _SMALL
