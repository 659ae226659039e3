"""The sizes of all values in an ONNX graph, worked out from the file before any memory is taken.

Operators are those that exported graphs hold; each has a rule that gives the shapes of its outputs. Shapes that a graph
computes itself (from `Shape`, for a reshape say) are followed as numbers. An operator without a rule, and a size that
cannot be worked out, are refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.onnx_graph import ForbiddenError, Graph, Node, Tensor

_MOST_KNOWN = 4096  # elements of a value that is followed as numbers
_MOST_RANK = 16

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Value:
    """What is known of a value before the graph runs."""

    shape: Shape
    known: npt.NDArray[Any] | None = None
    """The numbers themselves, where they follow from the file and the shapes of the inputs."""

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Sizes:
    """The sizes of one run of a graph."""

    elements: list[int]
    """Of the outputs of each node together, in the order of the nodes."""
    largest: int
    """Elements of the largest single value."""
    multiplications: int
    """Of matrix products and convolutions."""


def infer_sizes(graph: Graph, inputs: Mapping[str, Shape]) -> Sizes:
    """Follow every node of `graph` for inputs of these shapes. Raises ForbiddenError, naming the node that fails."""
    values = {"": Value(())}
    values.update((name, Value(shape)) for name, shape in inputs.items())
    values.update((constant.name, Value(constant.shape, constant.values)) for constant in graph.constants)
    elements: list[int] = []
    largest = multiplications = 0
    for node in graph.nodes:
        rule = _RULES.get(node.operator)
        if rule is None:
            raise ForbiddenError(f"it uses the operator {node.operator!r}")
        for name in node.inputs:
            if name not in values:
                raise ForbiddenError(f"{node.operator} takes {name!r}, which nothing before it makes")
        call = _Call(node, [values[name] for name in node.inputs], graph.opset)
        try:
            outputs = rule(call)
        except (ValueError, IndexError, TypeError, KeyError, OverflowError, ZeroDivisionError, AttributeError) as error:
            shapes = ", ".join(str(value.shape) for value in call.inputs)
            raise ForbiddenError(f"{node.operator} cannot take inputs of the shapes {shapes} ({error})") from None
        for name, output in zip(node.outputs, outputs, strict=False):
            if len(output.shape) > _MOST_RANK or min(output.shape, default=1) < 1:
                raise ForbiddenError(f"{node.operator} would make a value of the shape {output.shape}")
            if name in values and name:
                raise ForbiddenError(f"{name!r} is made twice")
            values[name] = output
        if len(node.outputs) > len(outputs):
            raise ForbiddenError(f"{node.operator} has {len(node.outputs)} outputs")
        values[""] = Value(())
        counts = [output.elements for output in outputs[: len(node.outputs)]]
        elements.append(sum(counts))
        largest = max(largest, *counts, 0)
        multiplications += _multiplications(call, outputs)
    for name in graph.outputs:
        if name not in values:
            raise ForbiddenError(f"nothing makes its output {name!r}")
    return Sizes(elements, largest, multiplications)


@dataclass(frozen=True)
class _Call:
    """A node with what is known of its inputs."""

    node: Node
    inputs: list[Value]
    opset: int

    def has(self, index: int) -> bool:
        return index < len(self.inputs) and bool(self.node.inputs[index])

    def shape(self, index: int = 0) -> Shape:
        if not self.has(index):
            raise ValueError(f"input {index} is missing")
        return self.inputs[index].shape

    def attribute(self, name: str, default: Any = None) -> Any:
        return self.node.attributes.get(name, default)

    def numbers(self, index: int) -> list[int]:
        """An input that says sizes or axes."""
        known = self.inputs[index].known
        if known is None:
            raise ValueError(f"input {index} is not fixed by the file")
        return [int(number) for number in known.ravel()]

    def axis(self, default: int | None = None, rank: int | None = None) -> int:
        axis = self.attribute("axis", default)
        rank = len(self.shape()) if rank is None else rank
        if axis is None or not -rank <= axis < rank:
            raise ValueError(f"axis {axis} of {rank}")
        return int(axis) % rank

    def axes(self, index: int, rank: int) -> list[int] | None:
        """Axes as an input (newer operators) or an attribute (older ones); None where neither says any."""
        given = self.numbers(index) if self.has(index) else self.attribute("axes")
        if given is None:
            return None
        if any(not -rank <= axis < rank for axis in given):
            raise ValueError(f"axes {given} of {rank}")
        return [int(axis) % rank for axis in given]


_Rule = Callable[[_Call], Sequence[Value]]


def _same(call: _Call) -> list[Value]:
    return [Value(call.shape())]


def _first_alike(call: _Call) -> list[Value]:
    """Normalisation: the first output is like the input; statistics are smaller."""
    return [Value(call.shape())] + [Value(call.shape()) for _ in call.node.outputs[1:]]


def _broadcast(call: _Call) -> list[Value]:
    return [Value(np.broadcast_shapes(*(value.shape for value in call.inputs)))]


_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Max": np.maximum,
    "Min": np.minimum,
    "Div": lambda left, right: _quotient(left, right),  # defined below
}


def _arithmetic(call: _Call) -> list[Value]:
    (shape,) = (value.shape for value in _broadcast(call))
    known = [value.known for value in call.inputs if value.known is not None]
    function = _ARITHMETIC.get(call.node.operator)
    if function is None or len(known) != 2 or math.prod(shape) > _MOST_KNOWN:
        return [Value(shape)]
    with np.errstate(all="ignore"):
        return [Value(shape, np.asarray(function(*known)))]


def _quotient(left: npt.NDArray[Any], right: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """As ONNX divides: integers towards zero."""
    if left.dtype.kind == right.dtype.kind == "i":
        if (right == 0).any():
            raise ValueError("division by zero")
        return np.asarray(np.trunc(left / right), np.int64)
    return np.asarray(left / right)


def _identity(call: _Call) -> list[Value]:
    return [Value(call.shape(), call.inputs[0].known)]


def _cast(call: _Call) -> list[Value]:
    known = call.inputs[0].known
    if known is not None and call.attribute("to") in (6, 7):
        with np.errstate(all="ignore"):
            return [Value(call.shape(), known.astype(np.int64))]
    return [Value(call.shape(), known if call.attribute("to") == 1 else None)]


def _constant(call: _Call) -> list[Value]:
    for name, content in call.node.attributes.items():
        if name == "value" and isinstance(content, Tensor):
            return [Value(content.shape, content.values)]
        if name in ("value_int", "value_float", "value_ints", "value_floats") and content is not None:
            known = np.asarray(content)
            return [Value(known.shape, known)]
    raise ValueError("no value that is a tensor or numbers")


def _constant_of_shape(call: _Call) -> list[Value]:
    shape = tuple(call.numbers(0))
    content = call.attribute("value")
    if math.prod(shape) <= _MOST_KNOWN and isinstance(content, Tensor) and content.values is not None:
        return [Value(shape, np.full(shape, content.values.ravel()[0]))]
    return [Value(shape)]


def _shape_of(call: _Call) -> list[Value]:
    start, stop = call.attribute("start", 0), call.attribute("end")
    known = np.array(call.shape()[start:stop], np.int64)
    return [Value(known.shape, known)]


def _size_of(call: _Call) -> list[Value]:
    return [Value((), np.array(call.inputs[0].elements))]


def _range(call: _Call) -> list[Value]:
    start, limit, step = (call.inputs[i].known for i in range(3))
    if start is None or limit is None or step is None:
        raise ValueError("its bounds are not fixed by the file")
    count = max(0, math.ceil((limit.item() - start.item()) / step.item()))
    return [Value((count,), np.arange(count) * step.item() + start.item() if count <= _MOST_KNOWN else None)]


def _reshape(call: _Call) -> list[Value]:
    before = call.shape()
    wanted = call.numbers(1)
    if not call.attribute("allowzero", 0):
        wanted = [before[i] if size == 0 else size for i, size in enumerate(wanted)]
    if wanted.count(-1) == 1:
        rest = -math.prod(wanted)
        wanted[wanted.index(-1)] = math.prod(before) // rest if rest else 0
    if math.prod(wanted) != math.prod(before):
        raise ValueError(f"to {wanted}")
    known = call.inputs[0].known
    return [Value(tuple(wanted), None if known is None else known.reshape(wanted))]


def _flatten(call: _Call) -> list[Value]:
    shape = call.shape()
    axis = call.attribute("axis", 1)
    return [Value((math.prod(shape[:axis]), math.prod(shape[axis:])))]


def _transpose(call: _Call) -> list[Value]:
    shape = call.shape()
    order = call.attribute("perm", tuple(reversed(range(len(shape)))))
    if sorted(order) != list(range(len(shape))):
        raise ValueError(f"perm {order}")
    return [Value(tuple(shape[axis] for axis in order))]


def _unsqueeze(call: _Call) -> list[Value]:
    given = call.numbers(1) if call.has(1) else list(call.attribute("axes"))
    rank = len(call.shape()) + len(given)
    axes = [axis % rank for axis in given if -rank <= axis < rank]
    if len(set(axes)) != len(given):
        raise ValueError(f"axes {given}")
    rest = iter(call.shape())
    shape = tuple(1 if axis in axes else next(rest) for axis in range(rank))
    known = call.inputs[0].known
    return [Value(shape, None if known is None else known.reshape(shape))]


def _squeeze(call: _Call) -> list[Value]:
    shape = call.shape()
    axes = call.axes(1, len(shape))
    axes = [axis for axis, size in enumerate(shape) if size == 1] if axes is None else axes
    if any(shape[axis] != 1 for axis in axes):
        raise ValueError(f"axes {axes}")
    left = tuple(size for axis, size in enumerate(shape) if axis not in axes)
    known = call.inputs[0].known
    return [Value(left, None if known is None else known.reshape(left))]


def _concat(call: _Call) -> list[Value]:
    axis = call.axis()
    shapes = [value.shape for value in call.inputs]
    if any(shape[:axis] + shape[axis + 1 :] != shapes[0][:axis] + shapes[0][axis + 1 :] for shape in shapes):
        raise ValueError("sides differ")
    shape = (*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :])
    known = [value.known for value in call.inputs]
    if math.prod(shape) > _MOST_KNOWN or any(array is None for array in known):
        return [Value(shape)]
    return [Value(shape, np.concatenate([array for array in known if array is not None], axis))]


def _split(call: _Call) -> list[Value]:
    shape, axis = call.shape(), call.axis(0)
    if call.has(1):
        sizes = call.numbers(1)
    else:
        parts = call.attribute("num_outputs", len(call.node.outputs))
        size = -(-shape[axis] // parts)
        sizes = [min(size, shape[axis] - size * i) for i in range(parts)]
    if sum(sizes) != shape[axis] or min(sizes) < 1:
        raise ValueError(f"into {sizes[:8]}")
    return [Value((*shape[:axis], size, *shape[axis + 1 :])) for size in sizes]


def _slice(call: _Call) -> list[Value]:
    shape = call.shape()
    starts, stops = call.numbers(1), call.numbers(2)
    axes = call.axes(3, len(shape)) if call.has(3) else list(range(len(starts)))
    steps = call.numbers(4) if call.has(4) else [1] * len(starts)
    cut = [slice(None)] * len(shape)
    for axis, start, stop, step in zip(axes or [], starts, stops, steps, strict=True):
        # A stop before the first element is what "to the end" is called where steps are negative.
        cut[axis] = slice(start, None if step < 0 and stop < -shape[axis] else stop, step)
    sides = tuple(len(range(*part.indices(size))) for part, size in zip(cut, shape, strict=True))
    known = call.inputs[0].known
    return [Value(sides, None if known is None else known[tuple(cut)])]


def _gather(call: _Call) -> list[Value]:
    shape, chosen, axis = call.shape(), call.shape(1), call.axis(0)
    result = (*shape[:axis], *chosen, *shape[axis + 1 :])
    known, indices = call.inputs[0].known, call.inputs[1].known
    if known is None or indices is None or math.prod(result) > _MOST_KNOWN:
        return [Value(result)]
    return [Value(result, np.take(known, indices.astype(np.int64), axis))]


def _gather_elements(call: _Call) -> list[Value]:
    return [Value(call.shape(1))]


def _gather_nd(call: _Call) -> list[Value]:
    batch, shape, indices = call.attribute("batch_dims", 0), call.shape(), call.shape(1)
    return [Value((*indices[:-1], *shape[batch + indices[-1] :]))]


def _expand(call: _Call) -> list[Value]:
    return [Value(np.broadcast_shapes(call.shape(), tuple(call.numbers(1))))]


def _tile(call: _Call) -> list[Value]:
    return [Value(tuple(size * count for size, count in zip(call.shape(), call.numbers(1), strict=True)))]


def _pad(call: _Call) -> list[Value]:
    shape = call.shape()
    pads = call.numbers(1)
    axes = call.axes(3, len(shape)) if call.has(3) else list(range(len(shape)))
    sides = list(shape)
    for i, axis in enumerate(axes or []):
        sides[axis] += pads[i] + pads[i + len(pads) // 2]
    return [Value(tuple(sides))]


def _resize(call: _Call) -> list[Value]:
    shape = call.shape()
    axes = call.attribute("axes", tuple(range(len(shape))))
    sides = list(shape)
    if call.has(3):
        for axis, size in zip(axes, call.numbers(3), strict=True):
            sides[axis] = size
    else:
        scales = call.inputs[2].known
        if scales is None:
            raise ValueError("its scales are not fixed by the file")
        for axis, scale in zip(axes, scales.tolist(), strict=True):
            sides[axis] = math.floor(sides[axis] * scale)
    return [Value(tuple(sides))]


def _reduce(call: _Call) -> list[Value]:
    shape = call.shape()
    axes = call.axes(1, len(shape))
    if axes is None or not axes:
        axes = [] if call.attribute("noop_with_empty_axes", 0) else list(range(len(shape)))
    keep = call.attribute("keepdims", 1)
    return [Value(tuple(1 if i in axes else size for i, size in enumerate(shape) if keep or i not in axes))]


def _arg_reduce(call: _Call) -> list[Value]:
    shape, axis = call.shape(), call.axis(0)
    middle = (1,) if call.attribute("keepdims", 1) else ()
    return [Value((*shape[:axis], *middle, *shape[axis + 1 :]))]


def _gemm(call: _Call) -> list[Value]:
    a, b = call.shape(0), call.shape(1)
    a = a[::-1] if call.attribute("transA", 0) else a
    b = b[::-1] if call.attribute("transB", 0) else b
    if len(a) != 2 or len(b) != 2 or a[1] != b[0]:
        raise ValueError("sides differ")
    shape = (a[0], b[1])
    if call.has(2) and np.broadcast_shapes(shape, call.shape(2)) != shape:
        raise ValueError("the bias does not fit")
    return [Value(shape)]


def _matmul(call: _Call) -> list[Value]:
    a, b = call.shape(0), call.shape(1)
    left, right = (a if len(a) > 1 else (1, *a)), (b if len(b) > 1 else (*b, 1))
    if left[-1] != right[-2]:
        raise ValueError("sides differ")
    batch = np.broadcast_shapes(left[:-2], right[:-2])
    return [Value((*batch, *((left[-2],) if len(a) > 1 else ()), *((right[-1],) if len(b) > 1 else ())))]


def _windows(call: _Call, kernel: Sequence[int]) -> Shape:
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


def _conv(call: _Call) -> list[Value]:
    shape, weight = call.shape(), call.shape(1)
    if shape[1] != weight[1] * call.attribute("group", 1) or len(shape) != len(weight):
        raise ValueError("channels differ")
    return [Value((shape[0], weight[0], *_windows(call, weight[2:])))]


def _conv_transpose(call: _Call) -> list[Value]:
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


def _pool(call: _Call) -> list[Value]:
    shape = (*call.shape()[:2], *_windows(call, call.attribute("kernel_shape")))
    return [Value(shape) for _ in call.node.outputs]


def _global_pool(call: _Call) -> list[Value]:
    shape = call.shape()
    return [Value((*shape[:2], *(1 for _ in shape[2:])))]


def _depth_to_space(call: _Call) -> list[Value]:
    (n, c, h, w), side = call.shape(), call.attribute("blocksize")
    if side < 1 or c % side**2:
        raise ValueError(f"blocksize {side}")
    return [Value((n, c // side**2, h * side, w * side))]


def _space_to_depth(call: _Call) -> list[Value]:
    (n, c, h, w), side = call.shape(), call.attribute("blocksize")
    if side < 1 or h % side or w % side:
        raise ValueError(f"blocksize {side}")
    return [Value((n, c * side**2, h // side, w // side))]


def _attention(call: _Call) -> list[Value]:
    """Scaled dot products of queries, keys and values (N, heads, L, D), or (N, L, heads · D)."""
    query, value = call.shape(0), call.shape(2)
    if len(call.node.outputs) != 1 or len(query) != len(value):
        raise ValueError("more than the attended values")
    if len(query) == 3:
        heads = call.attribute("q_num_heads"), call.attribute("kv_num_heads")
        return [Value((*query[:-1], value[-1] // heads[1] * heads[0]))]
    return [Value((*query[:-1], value[-1]))]


def _multiplications(call: _Call, outputs: Sequence[Value]) -> int:
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
    return 0


_ALIKE = (
    "Abs Ceil Celu Clip CumSum Elu Erf Exp Floor Gelu HardSigmoid HardSwish Hardmax LeakyRelu Log LogSoftmax Mish Neg "
    "Not BitwiseNot QuantizeLinear DequantizeLinear Reciprocal Relu Round Selu Sigmoid Sign Softmax Softplus Softsign "
    "Sqrt Swish Tanh ThresholdedRelu Trilu Cos Sin"
)
_NORMALISING = (
    "BatchNormalization GroupNormalization InstanceNormalization LayerNormalization RMSNormalization LpNormalization"
)
_TOGETHER = (
    "And BitShift BitwiseAnd BitwiseOr BitwiseXor Equal Greater GreaterOrEqual Less LessOrEqual Mean Mod Or PRelu Pow "
    "Sum Where Xor"
)
_REDUCING = "ReduceL1 ReduceL2 ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare"
_RULES: dict[str, _Rule] = {
    **dict.fromkeys(_ALIKE.split(), _same),
    **dict.fromkeys(_NORMALISING.split(), _first_alike),
    **dict.fromkeys(_TOGETHER.split(), _broadcast),
    **dict.fromkeys(_ARITHMETIC, _arithmetic),
    **dict.fromkeys(_REDUCING.split(), _reduce),
    **dict.fromkeys(("MaxPool", "AveragePool"), _pool),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), _global_pool),
    **dict.fromkeys(("ArgMax", "ArgMin"), _arg_reduce),
    "Attention": _attention,
    "Cast": _cast,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DepthToSpace": _depth_to_space,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "Gemm": _gemm,
    "Identity": _identity,
    "MatMul": _matmul,
    "Pad": _pad,
    "Range": _range,
    "Reshape": _reshape,
    "Resize": _resize,
    "Shape": _shape_of,
    "Size": _size_of,
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
OPERATORS = tuple(sorted(_RULES))
"""Operators that a graph may hold."""
