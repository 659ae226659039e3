"""What the C source computes, to the bit, in NumPy float32: the same products and sums in the same order.

A second derivation that needs no compiler: it fills the self-test of the file, and the export's check runs it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from export.c_source.network import (
    Activation,
    Combination,
    Convolution,
    Floats,
    Linear,
    Network,
    Normalization,
    Reorder,
    Resize,
    Scale,
    Step,
)

PIECE = 64
"""Products that are summed from zero before they join the total."""
_ROUNDER = np.float32(1.5 * 2**23)  # adding it rounds to a whole number, which then lies in the low bits
_ONE, _TWO = np.float32(1), np.float32(2)
_EXP_TAYLOR = np.array(
    [1.98412698e-4, 1.38888889e-3, 8.33333333e-3, 4.16666667e-2, 1.66666667e-1, 0.5, 1, 1], np.float32
)
_ERF_TAYLOR = np.array(
    [
        1.48071928e-8, -1.63658447e-7, 1.64621144e-6, -1.49256504e-5, 1.20553330e-4, -8.54832702e-4,
        5.22397763e-3, -2.68661706e-2, 1.12837917e-1, -3.76126389e-1, 1.12837917,
    ],
    np.float32,
)  # fmt: skip
_ERFC_OF_T = np.array([1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592], np.float32)


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
        case Normalization():
            return _normalized(step, x)
        case Combination():
            return x + tensors[step.other] if step.name == "add" else x * tensors[step.other]
        case Resize():
            from_y, from_x = (
                np.arange(there) * here // there for here, there in zip(step.input_size, step.output_size, strict=True)
            )
            return x.reshape(len(x), *step.input_size, -1)[:, from_y[:, None], from_x].reshape(len(x), -1)
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


def _normalized(step: Normalization, x: Floats) -> Floats:
    groups = x.reshape(len(x), -1, step.groups, step.width).transpose(0, 2, 1, 3).reshape(len(x), step.groups, -1)
    count = np.float32(groups.shape[-1])
    groups = groups - (_sum(groups) / count)[..., None]
    variance = _sum(groups * groups) / count
    groups = groups * inverse_root(variance + np.float32(step.epsilon))[..., None]
    return groups.reshape(len(x), step.groups, -1, step.width).transpose(0, 2, 1, 3).reshape(x.shape)


def _sum(x: Floats) -> Floats:
    """Over the last axis, in pieces, each summed in order from zero."""
    pieces = -(-x.shape[-1] // PIECE)
    padded = np.zeros((*x.shape[:-1], pieces * PIECE), np.float32)
    padded[..., : x.shape[-1]] = x
    total = np.zeros(x.shape[:-1], np.float32)
    for piece in np.moveaxis(padded.reshape(*x.shape[:-1], pieces, PIECE), -2, 0):
        part = np.zeros_like(total)
        for k in range(PIECE):
            part += piece[..., k]
        total += part
    return total


def inverse_root(x: Floats) -> Floats:
    """1 / sqrt(x) for positive x: half the exponent, and four of Newton's steps."""
    y = (np.uint32(0x5F3759DF) - (x.view(np.uint32) >> np.uint32(1))).view(np.float32)
    half = x * np.float32(0.5)
    for _ in range(4):
        y = y * (np.float32(1.5) - half * y * y)
    return y


def exponential(x: Floats) -> Floats:
    """e^x for x clamped to [-86, 88]."""
    x = np.minimum(np.maximum(x, np.float32(-86)), np.float32(88))
    shifted = x * np.float32(1.44269504) + _ROUNDER
    n = shifted - _ROUNDER
    r = x - n * np.float32(0.693359375)
    r = r + n * np.float32(2.12194440e-4)
    p = _polynomial(_EXP_TAYLOR, r)
    bits = p.view(np.uint32) + (shifted.view(np.uint32) << np.uint32(23))
    result: Floats = bits.view(np.float32)
    return result


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + e^-x)."""
    return _ONE / (_ONE + exponential(-x))


def silu(x: Floats) -> Floats:
    """x / (1 + e^-x)."""
    return x / (_ONE + exponential(-x))


def elu(x: Floats, slope: float) -> Floats:
    """x where it is positive, otherwise (e^x - 1) · slope."""
    return np.where(x > 0, x, (exponential(x) - _ONE) * np.float32(slope))


def erf(x: Floats) -> Floats:
    """The error function: Taylor's series below 1, and Abramowitz & Stegun 7.1.26 above."""
    magnitude = np.abs(x)
    near_zero = np.minimum(magnitude, _ONE)
    series = _polynomial(_ERF_TAYLOR, near_zero * near_zero) * near_zero
    far = np.maximum(magnitude, _ONE)
    far = np.minimum(far, np.float32(4))
    t = _ONE / (_ONE + np.float32(0.3275911) * far)
    large = _ONE - _polynomial(_ERFC_OF_T, t) * t * exponential(-(far * far))
    return np.copysign(np.where(magnitude < 1, series, large), x)


def _polynomial(coefficients: Floats, x: Floats) -> Floats:
    """Horner's scheme; the first coefficient is that of the highest power."""
    p = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        p = p * x + coefficient
    return p


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
    "elu": elu,
    "erf": erf,
}
