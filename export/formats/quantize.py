"""Smaller ONNX files of the same graph: static int8, and float16 weights with float32 arithmetic."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

from export.quiet import quiet

_WEIGHTED = ("Gemm", "MatMul", "Conv", "ConvTranspose")
_INT8_NODES = ("Gemm", "MatMul", "Conv")  # onnxruntime has no int8 kernel for ConvTranspose


def to_int8(content: bytes, calibration: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Quantise an ONNX file to static int8: weights per channel, activations per tensor, only nodes with weights.

    calibration: input name → array of typical values. Static scales keep each image independent of the rest of its
    batch. Weights use 7 bits: on CPUs without VNNI, 8-bit products can saturate, and results would differ between
    CPUs. Outputs of quantised nodes stay float, so the sigmoid gets unrounded logits.
    """
    model = onnx.load_from_string(content)
    metadata = [(entry.key, entry.value) for entry in model.metadata_props]
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / "int8.onnx"
        quantize_static(
            model,
            path,
            _Calibration(calibration),
            op_types_to_quantize=list(_INT8_NODES),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"OpTypesToExcludeOutputQuantization": list(_INT8_NODES)},
        )
        quantized = onnx.load(path)
    return _finish(quantized, model, metadata)


def to_fp16_weights(content: bytes) -> bytes:
    """Store the weights of an ONNX file as float16; they are cast to float32 before use."""
    model = onnx.load_from_string(content)
    metadata = [(entry.key, entry.value) for entry in model.metadata_props]
    weights = {name for node in model.graph.node if node.op_type in _WEIGHTED for name in node.input[1:]}
    casts = []
    for tensor in model.graph.initializer:
        if tensor.name in weights and tensor.data_type == TensorProto.FLOAT:
            name = tensor.name
            half = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), f"{name}.fp16")
            tensor.CopyFrom(half)
            casts.append(onnx.helper.make_node("Cast", [half.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return _finish(model, model, metadata)


class _Calibration(CalibrationDataReader):  # type: ignore[misc]
    """Feeds the calibration arrays to the quantiser as one batch."""

    def __init__(self, inputs: Mapping[str, npt.NDArray[Any]]) -> None:
        self._batches = iter([dict(inputs)])

    def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
        return next(self._batches, None)


def _finish(model: onnx.ModelProto, original: onnx.ModelProto, metadata: Sequence[tuple[str, str]]) -> bytes:
    """Copy versions, producer and metadata from the float model, then check and serialise."""
    model.ir_version = original.ir_version
    model.producer_name, model.producer_version = original.producer_name, ""
    opset = {entry.domain: entry.version for entry in original.opset_import}[""]
    del model.opset_import[:]
    model.opset_import.append(onnx.helper.make_opsetid("", opset))
    del model.metadata_props[:]
    for key, value in metadata:
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content
