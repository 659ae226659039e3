"""Rules for operators that work on each element: the output is as large as the inputs, broadcast together."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.onnx_guard.call import MOST_KNOWN, Call, Rule, Value


def _same(call: Call) -> list[Value]:
    return [Value(call.shape())]


def _first_alike(call: Call) -> list[Value]:
    """Normalisation: the first output is like the input; statistics are smaller."""
    return [Value(call.shape())] + [Value(call.shape()) for _ in call.node.outputs[1:]]


def _broadcast(call: Call) -> list[Value]:
    return [Value(np.broadcast_shapes(*(value.shape for value in call.inputs)))]


def _quotient(left: npt.NDArray[Any], right: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """As ONNX divides: integers towards zero."""
    if left.dtype.kind == right.dtype.kind == "i":
        if (right == 0).any():
            raise ValueError("division by zero")
        return np.asarray(np.trunc(left / right), np.int64)
    return np.asarray(left / right)


_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Max": np.maximum,
    "Min": np.minimum,
    "Div": _quotient,
}


def _arithmetic(call: Call) -> list[Value]:
    (shape,) = (value.shape for value in _broadcast(call))
    known = [value.known for value in call.inputs if value.known is not None]
    function = _ARITHMETIC.get(call.node.operator)
    if function is None or len(known) != 2 or math.prod(shape) > MOST_KNOWN:
        return [Value(shape)]
    with np.errstate(all="ignore"):
        return [Value(shape, np.asarray(function(*known)))]


def _identity(call: Call) -> list[Value]:
    return [Value(call.shape(), call.inputs[0].known)]


def _cast(call: Call) -> list[Value]:
    known = call.inputs[0].known
    if known is not None and call.attribute("to") in (6, 7):
        with np.errstate(all="ignore"):
            return [Value(call.shape(), known.astype(np.int64))]
    return [Value(call.shape(), known if call.attribute("to") == 1 else None)]


_ALIKE = (
    "Abs Ceil Celu Clip CumSum Elu Erf Exp Floor Gelu HardSigmoid HardSwish Hardmax LeakyRelu Log LogSoftmax Mish Neg "
    "Not BitwiseNot QuantizeLinear DequantizeLinear Reciprocal Relu Round Selu Sigmoid Sign Softmax Softplus Softsign "
    "Sqrt Swish Tanh ThresholdedRelu Trilu Cos Sin Tan Acos Asin Atan Cosh Sinh Acosh Asinh Atanh IsInf IsNaN"
)
_NORMALISING = (
    "BatchNormalization GroupNormalization InstanceNormalization LayerNormalization RMSNormalization LpNormalization"
)
_TOGETHER = (
    "And BitShift BitwiseAnd BitwiseOr BitwiseXor Equal Greater GreaterOrEqual Less LessOrEqual Mean Mod Or PRelu Pow "
    "Sum Where Xor"
)
RULES: dict[str, Rule] = {
    **dict.fromkeys(_ALIKE.split(), _same),
    **dict.fromkeys(_NORMALISING.split(), _first_alike),
    **dict.fromkeys(_TOGETHER.split(), _broadcast),
    **dict.fromkeys(_ARITHMETIC, _arithmetic),
    "Cast": _cast,
    "Identity": _identity,
}
