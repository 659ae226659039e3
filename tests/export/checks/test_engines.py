"""The engines of the parity check."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from export.checks.engines import onnx_reference


def test_the_reference_is_judged_by_its_outputs_not_by_the_processors_flags() -> None:
    # 0 · ∞ is computed and thrown away, as OpenBLAS does with unused lanes of a vector.
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["x", "infinity"], ["product"]),
            helper.make_node("Equal", ["x", "zero"], ["unused"]),
            helper.make_node("Where", ["unused", "x", "product"], ["y"]),
        ],
        "products",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])],
        [
            helper.make_tensor("infinity", TensorProto.FLOAT, [], [np.inf]),
            helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])

    (products,) = onnx_reference(model).run([np.array([0, 4], np.float32)])

    np.testing.assert_array_equal(products, [0, np.inf])
