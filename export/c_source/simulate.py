"""What the C source computes, to the bit, in NumPy float32: the same products and sums in the same order.

A second derivation that needs no compiler: it fills the self-test of the file, and the export's check runs it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from export.c_source.network import Activation, Add, Convolution, Floats, Linear, Network, Reorder, Scale, Step

PIECE = 64
"""Products that are summed from zero before they join the total."""
_ROUNDER = np.float32(1.5 * 2**23)  # adding it rounds to a whole number, which then lies in the low bits
_ONE, _TWO = np.float32(1), np.float32(2)
_EXP_TAYLOR = np.array(
    [1.98412698e-4, 1.38888889e-3, 8.33333333e-3, 4.16666667e-2, 1.66666667e-1, 0.5, 1, 1], np.float32
)


def simulate(network: Network, given: Floats) -> list[Floats]:
    """Outputs (N, size) of a network for its input (N, size), images stored as height, width, channels."""
    tensors = {network.input: given.astype(np.float32, copy=False)}
    for step in network.steps:
        tensors[step.target] = _run(step, tensors)
    return [tensors[name] for name in network.outputs]


def _run(step: Step, tensors: dict[str, Floats]) -> Floats:
    x = tensors[step.source]
    match step:
        case Linear():
            total = np.tile(step.bias.astype(np.float32), (len(x), 1))
            _add_products(total, x, step.weight.astype(np.float32))
            return total
        case Convolution():
            return _convolution(step, x)
        case Activation():
            return ACTIVATIONS[step.name](x, *step.numbers)
        case Scale():
            rows = x.reshape(len(x), -1, len(step.scale))
            return (rows * step.scale.astype(np.float32) + step.shift.astype(np.float32)).reshape(x.shape)
        case Add():
            return x + tensors[step.other]
        case Reorder():
            return x[:, step.order]


def _add_products(total: Floats, x: Floats, weight: Floats) -> None:
    """total (…, outputs) += x (…, inputs) @ weight (inputs, outputs), in pieces, each summed in order from zero."""
    for start in range(0, len(weight), PIECE):
        piece = np.zeros_like(total)
        for k in range(start, min(start + PIECE, len(weight))):
            piece += x[..., k : k + 1] * weight[k]
        total += piece


def _convolution(step: Convolution, x: Floats) -> Floats:
    """One tap after the other, added to every output that has it; outside the image the input is 0."""
    kernel, inputs = step.weight.shape[:2], step.weight.shape[2]
    weight = step.weight.astype(np.float32)
    images = x.reshape(len(x), *step.input_size, inputs)
    total = np.tile(step.bias.astype(np.float32), (len(x), *step.output_size, 1))
    for tap_y in range(kernel[0]):
        to_y, from_y, inside_y = _meeting(step, 0, tap_y)
        for tap_x in range(kernel[1]):
            to_x, from_x, inside_x = _meeting(step, 1, tap_x)
            given = images[:, np.where(inside_y, from_y, 0)][:, :, np.where(inside_x, from_x, 0)]
            given = np.where((inside_y[:, None] & inside_x)[:, :, None], given, np.float32(0))
            part = np.ascontiguousarray(total[:, to_y][:, :, to_x])
            _add_products(part, given, weight[tap_y, tap_x])
            total[:, to_y[:, None], to_x] = part
    return total.reshape(len(x), -1)


def _meeting(
    step: Convolution, axis: int, tap: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """The outputs of an axis that have the tap, the inputs that they meet there, and whether those exist."""
    to = np.arange(step.output_size[axis])
    offset = tap * step.dilation[axis] - step.padding[axis]
    if step.transposed:
        to = to[(to - offset) % step.stride[axis] == 0]
        source = (to - offset) // step.stride[axis]
    else:
        source = to * step.stride[axis] + offset
    return to, source, (source >= 0) & (source < step.input_size[axis])


def exponential(x: Floats) -> Floats:
    """e^x for x clamped to [-86, 88]."""
    x = np.minimum(np.maximum(x, np.float32(-86)), np.float32(88))
    shifted = x * np.float32(1.44269504) + _ROUNDER
    n = shifted - _ROUNDER
    r = x - n * np.float32(0.693359375)
    r = r + n * np.float32(2.12194440e-4)
    p = np.full_like(r, _EXP_TAYLOR[0])
    for coefficient in _EXP_TAYLOR[1:]:
        p = p * r + coefficient
    bits = p.view(np.uint32) + (shifted.view(np.uint32) << np.uint32(23))
    result: Floats = bits.view(np.float32)
    return result


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + e^-x)."""
    return _ONE / (_ONE + exponential(-x))


def silu(x: Floats) -> Floats:
    """x / (1 + e^-x)."""
    return x / (_ONE + exponential(-x))


def tanh(x: Floats) -> Floats:
    """Lambert's continued fraction below 1, and 1 - 2 / (e^2|x| + 1) above."""
    f = np.float32
    magnitude = np.abs(x)
    near_zero = np.minimum(magnitude, _ONE)
    square = near_zero * near_zero
    above = near_zero * (f(135135) + square * (f(17325) + square * (f(378) + square)))
    below = f(135135) + square * (f(62370) + square * (f(3150) + square * f(28)))
    large = _ONE - _TWO / (exponential(_TWO * np.minimum(magnitude, f(44))) + _ONE)
    return np.copysign(np.where(magnitude < 1, above / below, large), x)


def relu(x: Floats) -> Floats:
    """The larger of x and 0."""
    return np.where(x > 0, x, np.float32(0))


def leaky_relu(x: Floats, slope: float) -> Floats:
    """x where it is positive, otherwise x · slope."""
    return np.where(x > 0, x, x * np.float32(slope))


def clip(x: Floats, low: float, high: float) -> Floats:
    """The nearest number in [low, high]; low for NaN."""
    return np.where(x > np.float32(low), np.where(x < np.float32(high), x, np.float32(high)), np.float32(low))


ACTIVATIONS: dict[str, Callable[..., Floats]] = {
    "relu": relu,
    "leaky_relu": leaky_relu,
    "clip": clip,
    "tanh": tanh,
    "sigmoid": sigmoid,
    "silu": silu,
}
