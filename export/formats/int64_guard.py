"""What makes a sampler's ONNX file black in an engine that computes int64 in 32 bits.

The noise needs 64-bit integers. OpenVINO's CPU plugin converts int64, the inputs included, to 32 bits without a word
(seen in 2026.4), and would draw plausible pictures that belong to other seeds. So the file multiplies one
number with itself and divides it again, with 64 bits needed between; the product's factor for pixels is 255 where that
comes out right, and 0 otherwise. These are six operations on one number, whatever the batch.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

_OK = "int64_is_64_bits"


def guard_int64(model: onnx.ModelProto) -> None:
    """Change the graph of a sampler in place. Where int64 has 64 bits, its outputs keep their bits.

    With t = (seed & 0xFFFFF) + 2**20 + 1, t * t / t is t; in 32 bits t * t is smaller, whether it wraps or saturates.
    It depends on the seed, so that no optimiser can compute it in advance with wider integers than it then uses.
    """
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    rounding = [node for node in graph.node if node.op_type == "Round"][-1]
    scaling = makers[rounding.input[0]]  # image * 255
    constants = {"low_bits": np.array(0xFFFFF), "offset": np.array(2**20 + 1), "black": np.array(0, np.float32)}
    names = {name: f"{_OK}_{name}" for name in constants}
    graph.initializer.extend(numpy_helper.from_array(array, names[name]) for name, array in constants.items())
    steps = [
        ("BitwiseAnd", ["seed", names["low_bits"]], f"{_OK}_masked"),
        ("Add", [f"{_OK}_masked", names["offset"]], f"{_OK}_factor"),
        ("Mul", [f"{_OK}_factor", f"{_OK}_factor"], f"{_OK}_square"),
        ("Div", [f"{_OK}_square", f"{_OK}_factor"], f"{_OK}_root"),
        ("Equal", [f"{_OK}_root", f"{_OK}_factor"], _OK),
        ("Where", [_OK, scaling.input[1], names["black"]], f"{_OK}_white"),
    ]
    scaling.input[1] = f"{_OK}_white"
    for operator, inputs, output in reversed(steps):
        graph.node.insert(0, helper.make_node(operator, inputs, [output], name=output))
