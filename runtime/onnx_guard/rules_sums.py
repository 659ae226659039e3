"""Rules for operators that sum, compare or sort: matrix products, convolutions, pooling, reductions and attention."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from runtime.onnx_guard.call import Call, Rule, Shape, Value
from runtime.onnx_guard.einsum import read_einsum


def _reduce(call: Call) -> list[Value]:
    shape = call.shape()
    axes = call.axes(1, len(shape))
    if axes is None or not axes:
        axes = [] if call.attribute("noop_with_empty_axes", 0) else list(range(len(shape)))
    keep = call.attribute("keepdims", 1)
    return [Value(tuple(1 if i in axes else size for i, size in enumerate(shape) if keep or i not in axes))]


def _arg_reduce(call: Call) -> list[Value]:
    shape, axis = call.shape(), call.axis(0)
    middle = (1,) if call.attribute("keepdims", 1) else ()
    return [Value((*shape[:axis], *middle, *shape[axis + 1 :]))]


def _gemm(call: Call) -> list[Value]:
    a, b = call.shape(0), call.shape(1)
    a = a[::-1] if call.attribute("transA", 0) else a
    b = b[::-1] if call.attribute("transB", 0) else b
    if len(a) != 2 or len(b) != 2 or a[1] != b[0]:
        raise ValueError("sides differ")
    shape = (a[0], b[1])
    if call.has(2) and np.broadcast_shapes(shape, call.shape(2)) != shape:
        raise ValueError("the bias does not fit")
    return [Value(shape)]


def _matmul(call: Call) -> list[Value]:
    a, b = call.shape(0), call.shape(1)
    left, right = (a if len(a) > 1 else (1, *a)), (b if len(b) > 1 else (*b, 1))
    if left[-1] != right[-2]:
        raise ValueError("sides differ")
    batch = np.broadcast_shapes(left[:-2], right[:-2])
    return [Value((*batch, *((left[-2],) if len(a) > 1 else ()), *((right[-1],) if len(b) > 1 else ())))]


def _windows(call: Call, kernel: Sequence[int]) -> Shape:
    """Sides after a convolution or a pooling with this kernel."""
    sides = call.shape()[2:]
    rank = len(sides)
    strides = call.attribute("strides", (1,) * rank)
    dilations = call.attribute("dilations", (1,) * rank)
    pads = call.attribute("pads", (0,) * (2 * rank))
    automatic = call.attribute("auto_pad", "NOTSET")
    if automatic not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER") or min(*strides, *dilations, *kernel) < 1:
        raise ValueError("its attributes are out of range")
    if min(pads) < 0 or any(
        pad > 2 * size * dilation for pad, size, dilation in zip(pads, [*kernel] * 2, [*dilations] * 2, strict=True)
    ):
        raise ValueError(f"pads {pads}")
    if automatic.startswith("SAME"):
        return tuple(-(-side // stride) for side, stride in zip(sides, strides, strict=True))
    rounding = math.ceil if call.attribute("ceil_mode", 0) else math.floor
    return tuple(
        rounding((sides[i] + pads[i] + pads[i + rank] - dilations[i] * (kernel[i] - 1) - 1) / strides[i]) + 1
        for i in range(rank)
    )


def _conv(call: Call) -> list[Value]:
    shape, weight = call.shape(), call.shape(1)
    if shape[1] != weight[1] * call.attribute("group", 1) or len(shape) != len(weight):
        raise ValueError("channels differ")
    return [Value((shape[0], weight[0], *_windows(call, weight[2:])))]


def _conv_transpose(call: Call) -> list[Value]:
    shape, weight = call.shape(), call.shape(1)
    sides, kernel = shape[2:], weight[2:]
    rank = len(sides)
    strides = call.attribute("strides", (1,) * rank)
    dilations = call.attribute("dilations", (1,) * rank)
    pads = call.attribute("pads", (0,) * (2 * rank))
    extra = call.attribute("output_padding", (0,) * rank)
    if shape[1] != weight[0] or len(shape) != len(weight) or min(*strides, *dilations) < 1 or min(*pads, *extra) < 0:
        raise ValueError("channels differ, or its attributes are out of range")
    if call.attribute("auto_pad", "NOTSET") != "NOTSET" or "output_shape" in call.node.attributes:
        raise ValueError("its sides are not fixed by pads")
    if any(more >= max(stride, dilation) for more, stride, dilation in zip(extra, strides, dilations, strict=True)):
        raise ValueError(f"output_padding {extra}")
    made = tuple(
        strides[i] * (sides[i] - 1) + extra[i] + (kernel[i] - 1) * dilations[i] + 1 - pads[i] - pads[i + rank]
        for i in range(rank)
    )
    return [Value((shape[0], weight[1] * call.attribute("group", 1), *made))]


def _pool(call: Call) -> list[Value]:
    shape = (*call.shape()[:2], *_windows(call, call.attribute("kernel_shape")))
    return [Value(shape) for _ in call.node.outputs]


def _global_pool(call: Call) -> list[Value]:
    shape = call.shape()
    return [Value((*shape[:2], *(1 for _ in shape[2:])))]


def _attention(call: Call) -> list[Value]:
    """Scaled dot products of queries, keys and values (N, heads, L, D), or (N, L, heads · D)."""
    query, value = call.shape(0), call.shape(2)
    if len(call.node.outputs) != 1 or len(query) != len(value) or call.has(4) or call.has(5):
        raise ValueError("it takes or makes more than the attended values")
    if len(query) == 3:
        heads = call.attribute("q_num_heads"), call.attribute("kv_num_heads")
        return [Value((*query[:-1], value[-1] // heads[1] * heads[0]))]
    return [Value((*query[:-1], value[-1]))]


def _einsum(call: Call) -> list[Value]:
    return [Value(read_einsum(call)[0])]


def _top_k(call: Call) -> list[Value]:
    shape, axis = call.shape(), call.axis(-1)
    (count,) = call.numbers(1)
    if not 1 <= count <= shape[axis]:
        raise ValueError(f"the first {count}")
    return [Value((*shape[:axis], count, *shape[axis + 1 :]))] * 2


def multiplications(call: Call, outputs: Sequence[Value]) -> int:
    """Of one node: exact for matrix products and convolutions, 0 for operators that do a few for each number."""
    operator = call.node.operator
    if operator in ("Gemm", "MatMul"):
        inner = call.shape(0)
        return outputs[0].elements * (inner[0] if operator == "Gemm" and call.attribute("transA", 0) else inner[-1])
    if operator == "Conv":
        return outputs[0].elements * math.prod(call.shape(1)[1:])
    if operator == "ConvTranspose":
        return call.inputs[0].elements * math.prod(call.shape(1)[1:])
    if operator in ("MaxPool", "AveragePool"):
        kernel: Shape = call.attribute("kernel_shape")
        return outputs[0].elements * math.prod(kernel)
    if operator == "Attention":
        query_elements, key = call.inputs[0].elements, call.shape(1)
        return 2 * query_elements * key[-2]
    if operator == "Einsum":
        return read_einsum(call)[1]
    return 0


def working_memory(call: Call) -> int:
    """Numbers that a node holds besides its inputs and outputs: the scores of an attention, and of a transposed
    convolution all windows of one image. Engines do other sums in strips."""
    operator = call.node.operator
    if operator == "ConvTranspose":
        return math.prod(call.shape()[2:]) * math.prod(call.shape(1)[1:])
    if operator == "Attention":
        query, key = call.shape(0), call.shape(1)
        heads = call.attribute("q_num_heads") if len(query) == 3 else query[1]
        return int(query[0] * heads * query[-2] * key[-2])
    return 0


_REDUCING = "ReduceL1 ReduceL2 ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare"
RULES: dict[str, Rule] = {
    **dict.fromkeys(_REDUCING.split(), _reduce),
    **dict.fromkeys(("MaxPool", "AveragePool"), _pool),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), _global_pool),
    **dict.fromkeys(("ArgMax", "ArgMin"), _arg_reduce),
    "Attention": _attention,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Einsum": _einsum,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "TopK": _top_k,
}
