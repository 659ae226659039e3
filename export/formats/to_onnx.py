"""Export of a graph to ONNX."""

from __future__ import annotations

from typing import Any

import onnx
import torch
from onnx import TensorProto
from onnxscript import opset18

from export.formats.int64_guard import guard_int64
from export.quiet import quiet
from export.specs import GraphSpec
from runtime.manifest import METADATA_KEY, Metadata, OnnxVersions

OLDEST_OPSET = 18
"""The oldest that torch's exporter writes without conversion and that has bitwise operators, which the noise needs."""
NEWEST_OPSET = 25
"""The newest that the converters of torch and onnxscript support and onnxruntime guarantees to run."""
_OLDEST_ONNXRUNTIME = "1.18"
_NEWEST_OPSET_OF_OLDEST_ONNXRUNTIME = 21


def onnx_versions(opset: int) -> OnnxVersions:
    """What a host needs: `opset`, the lowest IR version that allows it, and the oldest onnxruntime tested with it."""
    return OnnxVersions(
        opset,
        onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", opset)]),
        _OLDEST_ONNXRUNTIME if opset <= _NEWEST_OPSET_OF_OLDEST_ONNXRUNTIME else None,
    )


def to_onnx(spec: GraphSpec, metadata: Metadata, *, opset: int = OLDEST_OPSET) -> onnx.ModelProto:
    """Export with PyTorch's `torch.export`-based ONNX exporter: dynamic batch, no external data, no source paths.

    metadata: stored in `metadata_props`; the runtime compares it with the manifest. Raises ONNX's own errors where its
    checker finds the model invalid.
    """
    with quiet():
        program = torch.onnx.export(
            spec.program,
            dynamo=True,
            external_data=False,
            opset_version=opset,
            input_names=[port.name for port in spec.inputs],
            output_names=[port.name for port in spec.outputs],
            dynamic_shapes=spec.dynamic_shapes(),
            custom_translation_table={torch.ops.aten.__rshift__.Scalar: _logical_shift},
        )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    _strip(model)
    if spec.name == "sampler":
        guard_int64(model)
    model.ir_version = onnx_versions(opset).ir_version
    model.producer_name = "vae-toolchain"
    model.producer_version = ""
    model.metadata_props.add(key=METADATA_KEY, value=metadata.to_json())
    onnx.checker.check_model(model, full_check=True)
    return model


def onnx_bytes(model: onnx.ModelProto) -> bytes:
    """The content of an ONNX file, the same bytes for the same model."""
    content: bytes = model.SerializeToString(deterministic=True)
    return content


_op: Any = opset18  # Any: its annotations do not accept the symbolic tensors that the exporter passes


def _logical_shift(self: Any, other: int) -> Any:
    """Translate int64 `>>` as a logical shift: cast to uint64, shift, cast back. ONNX shifts only unsigned integers.

    The exporter's own translation emulates an arithmetic shift with five more passes over memory. Only `export.noise`
    shifts, and it masks the bits that differ; the parity check compares its latents bit by bit.
    """
    bits = _op.Cast(_op.Constant(value_int=other), to=TensorProto.UINT64)
    shifted = _op.BitShift(_op.Cast(self, to=TensorProto.UINT64), bits, direction="RIGHT")
    return _op.Cast(shifted, to=TensorProto.INT64)


def _strip(model: onnx.ModelProto) -> None:
    """Remove the exporter's notes: they include stack traces with paths of this machine."""
    del model.metadata_props[:]
    graph = model.graph
    graph.doc_string = ""
    del graph.metadata_props[:]
    for item in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        item.doc_string = ""
        del item.metadata_props[:]
