"""Rules for operators that make numbers from sizes, or move and repeat numbers without changing them."""

from __future__ import annotations

import math

import numpy as np

from runtime.onnx_guard.call import MOST_KNOWN, Call, Rule, Value
from runtime.onnx_guard.graph import Tensor


def _constant(call: Call) -> list[Value]:
    for name, content in call.node.attributes.items():
        if name == "value" and isinstance(content, Tensor):
            return [Value(content.shape, content.values)]
        if name in ("value_int", "value_float", "value_ints", "value_floats") and content is not None:
            known = np.asarray(content)
            return [Value(known.shape, known)]
    raise ValueError("no value that is a tensor or numbers")


def _constant_of_shape(call: Call) -> list[Value]:
    shape = tuple(call.numbers(0))
    content = call.attribute("value")
    if math.prod(shape) <= MOST_KNOWN and isinstance(content, Tensor) and content.values is not None:
        return [Value(shape, np.full(shape, content.values.ravel()[0]))]
    return [Value(shape)]


def _shape_of(call: Call) -> list[Value]:
    start, stop = call.attribute("start", 0), call.attribute("end")
    known = np.array(call.shape()[start:stop], np.int64)
    return [Value(known.shape, known)]


def _size_of(call: Call) -> list[Value]:
    return [Value((), np.array(call.inputs[0].elements))]


def _range(call: Call) -> list[Value]:
    start, limit, step = (call.inputs[i].known for i in range(3))
    if start is None or limit is None or step is None:
        raise ValueError("its bounds are not fixed by the file")
    count = max(0, math.ceil((limit.item() - start.item()) / step.item()))
    return [Value((count,), np.arange(count) * step.item() + start.item() if count <= MOST_KNOWN else None)]


def _reshape(call: Call) -> list[Value]:
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


def _flatten(call: Call) -> list[Value]:
    shape = call.shape()
    axis = call.attribute("axis", 1)
    return [Value((math.prod(shape[:axis]), math.prod(shape[axis:])))]


def _transpose(call: Call) -> list[Value]:
    shape = call.shape()
    order = call.attribute("perm", tuple(reversed(range(len(shape)))))
    if sorted(order) != list(range(len(shape))):
        raise ValueError(f"perm {order}")
    return [Value(tuple(shape[axis] for axis in order))]


def _unsqueeze(call: Call) -> list[Value]:
    given = call.numbers(1) if call.has(1) else list(call.attribute("axes"))
    rank = len(call.shape()) + len(given)
    axes = [axis % rank for axis in given if -rank <= axis < rank]
    if len(set(axes)) != len(given):
        raise ValueError(f"axes {given}")
    rest = iter(call.shape())
    shape = tuple(1 if axis in axes else next(rest) for axis in range(rank))
    known = call.inputs[0].known
    return [Value(shape, None if known is None else known.reshape(shape))]


def _squeeze(call: Call) -> list[Value]:
    shape = call.shape()
    axes = call.axes(1, len(shape))
    axes = [axis for axis, size in enumerate(shape) if size == 1] if axes is None else axes
    if any(shape[axis] != 1 for axis in axes):
        raise ValueError(f"axes {axes}")
    left = tuple(size for axis, size in enumerate(shape) if axis not in axes)
    known = call.inputs[0].known
    return [Value(left, None if known is None else known.reshape(left))]


def _concat(call: Call) -> list[Value]:
    axis = call.axis()
    shapes = [value.shape for value in call.inputs]
    if any(shape[:axis] + shape[axis + 1 :] != shapes[0][:axis] + shapes[0][axis + 1 :] for shape in shapes):
        raise ValueError("sides differ")
    shape = (*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :])
    known = [value.known for value in call.inputs]
    if math.prod(shape) > MOST_KNOWN or any(array is None for array in known):
        return [Value(shape)]
    return [Value(shape, np.concatenate([array for array in known if array is not None], axis))]


def _split(call: Call) -> list[Value]:
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


def _slice(call: Call) -> list[Value]:
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


def _gather(call: Call) -> list[Value]:
    shape, chosen, axis = call.shape(), call.shape(1), call.axis(0)
    result = (*shape[:axis], *chosen, *shape[axis + 1 :])
    known, indices = call.inputs[0].known, call.inputs[1].known
    if known is None or indices is None or math.prod(result) > MOST_KNOWN:
        return [Value(result)]
    return [Value(result, np.take(known, indices.astype(np.int64), axis))]


def _gather_elements(call: Call) -> list[Value]:
    return [Value(call.shape(1))]


def _gather_nd(call: Call) -> list[Value]:
    batch, shape, indices = call.attribute("batch_dims", 0), call.shape(), call.shape(1)
    return [Value((*indices[:-1], *shape[batch + indices[-1] :]))]


def _like_first(call: Call) -> list[Value]:
    return [Value(call.shape())]


def _one_hot(call: Call) -> list[Value]:
    shape = call.shape()
    (depth,) = call.numbers(1)
    axis = call.axis(-1, len(shape) + 1)
    return [Value((*shape[:axis], depth, *shape[axis:]))]


def _grid_sample(call: Call) -> list[Value]:
    shape, points = call.shape(), call.shape(1)
    if points[0] != shape[0] or points[-1] != len(shape) - 2 or len(points) != len(shape):
        raise ValueError("the points do not fit")
    return [Value((*shape[:2], *points[1:-1]))]


def _col_to_im(call: Call) -> list[Value]:
    (n, columns, _), sides, block = call.shape(), call.numbers(1), call.numbers(2)
    channels, rest = divmod(columns, math.prod(block))
    if rest or len(sides) != len(block):
        raise ValueError(f"blocks {block}")
    return [Value((n, channels, *sides))]


def _expand(call: Call) -> list[Value]:
    return [Value(np.broadcast_shapes(call.shape(), tuple(call.numbers(1))))]


def _tile(call: Call) -> list[Value]:
    return [Value(tuple(size * count for size, count in zip(call.shape(), call.numbers(1), strict=True)))]


def _pad(call: Call) -> list[Value]:
    shape = call.shape()
    pads = call.numbers(1)
    axes = call.axes(3, len(shape)) if call.has(3) else list(range(len(shape)))
    sides = list(shape)
    for i, axis in enumerate(axes or []):
        sides[axis] += pads[i] + pads[i + len(pads) // 2]
    return [Value(tuple(sides))]


def _resize(call: Call) -> list[Value]:
    shape = call.shape()
    axes = call.attribute("axes", tuple(range(len(shape))))
    sides = list(shape)
    if call.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise ValueError("its sides follow from each other")
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


def _depth_to_space(call: Call) -> list[Value]:
    (n, c, h, w), side = call.shape(), call.attribute("blocksize")
    if side < 1 or c % side**2:
        raise ValueError(f"blocksize {side}")
    return [Value((n, c // side**2, h * side, w * side))]


def _space_to_depth(call: Call) -> list[Value]:
    (n, c, h, w), side = call.shape(), call.attribute("blocksize")
    if side < 1 or h % side or w % side:
        raise ValueError(f"blocksize {side}")
    return [Value((n, c * side**2, h // side, w // side))]


RULES: dict[str, Rule] = {
    "Col2Im": _col_to_im,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "DepthToSpace": _depth_to_space,
    "Expand": _expand,
    "EyeLike": _like_first,
    "Flatten": _flatten,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "GridSample": _grid_sample,
    "OneHot": _one_hot,
    "Pad": _pad,
    "Range": _range,
    "Reshape": _reshape,
    "Resize": _resize,
    "ScatterElements": _like_first,
    "ScatterND": _like_first,
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
