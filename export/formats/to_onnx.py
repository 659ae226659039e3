"""A graph as one self-contained ONNX file."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import onnx
import torch
from onnx import TensorProto
from onnxscript import opset18

from export.graphs import GraphSpec
from runtime.manifest import METADATA_KEY, Metadata, OnnxVersions

OLDEST_OPSET = 18
"""The oldest that torch's exporter writes without conversion, and that has the bitwise operators of the noise."""
NEWEST_OPSET = 25
"""The newest that torch's and onnxscript's converters reach by themselves and onnxruntime promises to run."""
_OLDEST_ONNXRUNTIME = "1.18"
_NEWEST_OPSET_THERE = 21


def onnx_versions(opset: int) -> OnnxVersions:
    """What a host must understand: the lowest IR version that may hold `opset`, and the oldest onnxruntime tested."""
    return OnnxVersions(
        opset,
        onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", opset)]),
        _OLDEST_ONNXRUNTIME if opset <= _NEWEST_OPSET_THERE else None,
    )


def to_onnx(spec: GraphSpec, metadata: Metadata, *, opset: int = OLDEST_OPSET) -> bytes:
    """Export with torch's `torch.export`-based exporter, chosen explicitly; the batch is dynamic, no data is external.

    metadata: kept in the file, so that it can be held against the manifest.
    """
    with _quiet():
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
    model.ir_version = onnx_versions(opset).ir_version
    model.producer_name = "vae-toolchain"
    model.producer_version = ""
    model.metadata_props.add(key=METADATA_KEY, value=metadata.to_json())
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


_op: Any = opset18  # its types would have the tensor be one of fifteen at once


def _logical_shift(self: Any, other: int) -> Any:
    """`>>` of int64, cast to uint64 and back, since ONNX shifts unsigned numbers only.

    The exporter's own translation emulates the sign with five more passes over memory. Only `export.noise` shifts, and
    it masks the bits in which the two differ; the parity check compares its latents bit by bit.
    """
    bits = _op.Cast(_op.Constant(value_int=other), to=TensorProto.UINT64)
    shifted = _op.BitShift(_op.Cast(self, to=TensorProto.UINT64), bits, direction="RIGHT")
    return _op.Cast(shifted, to=TensorProto.INT64)


def _strip(model: onnx.ModelProto) -> None:
    """Remove what the exporter notes about the machine and the source: stack traces hold paths."""
    del model.metadata_props[:]
    graph = model.graph
    graph.doc_string = ""
    del graph.metadata_props[:]
    for item in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        item.doc_string = ""
        del item.metadata_props[:]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress and the deprecation notices of its own insides off the user's screen."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
