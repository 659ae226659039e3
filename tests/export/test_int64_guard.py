"""`sampler.onnx` is black where int64 has 32 bits, and has the same bits as before everywhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from runtime.sampler import Sampler

OK = "int64_is_64_bits"
SEEDS = (0, 1, 7, 2**20 - 1, 2**20, 2**31 - 1)


def passes(path: Path, integers: int, seed: int) -> bool:
    """What the part of the graph that decides says, on integers of that type."""
    graph = onnx.load(path).graph
    kind = helper.tensor_dtype_to_np_dtype(integers)
    nodes = [node for node in graph.node if node.output[0].startswith(OK) and node.op_type != "Where"]
    constants = [
        numpy_helper.from_array(numpy_helper.to_array(tensor).astype(kind), tensor.name)
        for tensor in graph.initializer
        if tensor.name.startswith(OK) and tensor.data_type == TensorProto.INT64
    ]
    inputs = [helper.make_tensor_value_info("seed", integers, [])]
    outputs = [helper.make_tensor_value_info(OK, TensorProto.BOOL, [])]
    part = helper.make_graph(nodes, "check", inputs, outputs, constants)
    model = helper.make_model(part, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    result: Any = ReferenceEvaluator(model).run(None, {"seed": np.array(seed, kind)})
    return bool(result[0])


@pytest.mark.parametrize("seed", SEEDS)
def test_the_check_passes_in_64_bits_and_fails_in_32(bundle: Path, seed: int) -> None:
    path = bundle / "sampler.onnx"
    assert passes(path, TensorProto.INT64, seed)
    with np.errstate(over="ignore"):
        assert not passes(path, TensorProto.INT32, seed)


def test_the_largest_seed_passes(bundle: Path) -> None:
    assert passes(bundle / "sampler.onnx", TensorProto.INT64, 2**63 - 1)


def test_openvino_draws_black_and_no_wrong_picture(bundle: Path) -> None:
    openvino = pytest.importorskip("openvino")
    core = openvino.Core()
    model = core.compile_model(bundle / "sampler.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    drawn = model([np.array(7), np.arange(4), np.array(1, np.float32)])[model.outputs[0]]
    assert (drawn == Sampler(bundle).sample(4, seed=7)).all() or not drawn.any()
