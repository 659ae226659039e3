"""Faults injected into exported files: the parity check finds each, and raises the error for its kind."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from export.checks.parity import check_graph
from export.checks.reference import Reference
from export.errors import NamesError, ParityError, ShapesError, TypesError, ValuesError
from export.formats.to_onnx import onnx_bytes, to_onnx
from export.formats.to_pt2 import to_pt2
from export.formats.to_torchscript import to_torchscript
from export.graphs import Decoder, Sampler
from export.specs import GraphSpec, graphs_of
from runtime.bundle import Bundle
from runtime.manifest import MANIFEST_NAME, Metadata
from trainer.checkpoint import Checkpoint, load_checkpoint
from trainer.training.run_folder import Run

EXPORTERS: dict[str, Callable[[GraphSpec, Metadata], bytes]] = {
    "onnx": lambda spec, metadata: onnx_bytes(to_onnx(spec, metadata)),
    "torchscript": to_torchscript,
    "pt2": to_pt2,
}


@pytest.fixture(scope="module")
def checkpoint(tiny_run: Run) -> Checkpoint:
    return load_checkpoint(tiny_run.best)


def spec_of(checkpoint: Checkpoint, name: str) -> GraphSpec:
    return next(spec for spec in graphs_of(checkpoint.build_model()) if spec.name == name)


def replace(bundle: Path, graph: str, file_format: str, content: bytes) -> None:
    """Make `content` the only file of `graph` in a bundle, with a matching manifest, as a faulty exporter would."""
    manifest = json.loads((bundle / MANIFEST_NAME).read_text())
    name = manifest["graphs"][graph]["files"][file_format]
    manifest["graphs"][graph]["files"] = {file_format: name}
    (bundle / name).write_bytes(content)
    manifest["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (bundle / MANIFEST_NAME).write_text(json.dumps(manifest))


def check(checkpoint: Checkpoint, bundle: Path, graph: str) -> None:
    reference = Reference(checkpoint.build_model())
    images = checkpoint.reference_images.numpy()
    check_graph(spec_of(checkpoint, graph), reference, Bundle.open(bundle), images)


def corrupt_weight(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        next(module.parameters()).view(-1)[0] += 0.01
    return module


def swap_heads(module: nn.Module) -> nn.Module:
    module.mean, module.log_var = module.log_var, module.mean
    return module


class WithoutSigmoid(Decoder):
    def forward(self, z: Tensor) -> Tensor:
        return self.decoder(z)


class IndexOffByOne(Sampler):
    def latents(self, seed: Tensor, index: Tensor) -> Tensor:
        return self.noise(seed, index + 1)


def wrong_table_entry(module: nn.Module) -> nn.Module:
    """Change one of the 65,536 entries by one unit in the last place."""
    table = module.get_buffer("noise.table")
    table[40_000] = torch.nextafter(table[40_000], torch.tensor(torch.inf))
    return module


FAULTS: dict[str, tuple[str, Callable[[Any], nn.Module], str]] = {
    "a corrupted weight": ("decoder", corrupt_weight, "'image'"),
    "swapped heads": ("encoder", swap_heads, "'mean'"),
    "a dropped sigmoid": ("decoder", WithoutSigmoid, "'image'"),
    "a wrong table entry": ("sampler", wrong_table_entry, "'latents'"),
    "an index off by one": ("sampler", IndexOffByOne, "'latents'"),
}


@pytest.mark.parametrize("file_format", EXPORTERS)
@pytest.mark.parametrize("fault", FAULTS)
def test_injected_fault_raises_values_error(fault: str, file_format: str, checkpoint: Checkpoint, bundle: Path) -> None:
    graph, inject, output = FAULTS[fault]
    spec = spec_of(checkpoint, graph)
    model = checkpoint.build_model()
    faulty = inject(model).eval() if isinstance(inject, type) else inject(copy.deepcopy(spec.module))
    opened = Bundle.open(bundle)
    changed = GraphSpec(graph, faulty, spec.inputs, spec.outputs, spec.methods)
    content = EXPORTERS[file_format](changed, opened.manifest.metadata)
    replace(bundle, graph, file_format, content)
    with pytest.raises(ValuesError, match=f"{graph} in .*output {output}") as caught:
        check(checkpoint, bundle, graph)
    assert "nothing was published" in str(caught.value)


def rename_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = model.graph.node[-1].output[0] = "picture"


def swap_output_names(model: onnx.ModelProto) -> None:
    outputs = [copy.deepcopy(output) for output in model.graph.output]
    del model.graph.output[:]
    model.graph.output.extend(reversed(outputs))


def fix_batch(model: onnx.ModelProto) -> None:
    dimension = model.graph.input[0].type.tensor_type.shape.dim[0]
    dimension.Clear()
    dimension.dim_value = 1


def give_doubles(model: onnx.ModelProto) -> None:
    last = model.graph.node[-1]
    last.output[0] = "single"
    model.graph.node.append(onnx.helper.make_node("Cast", ["single"], ["image"], to=onnx.TensorProto.DOUBLE))
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE


@pytest.mark.parametrize(
    ("graph", "tamper", "error"),
    [
        ("decoder", rename_output, NamesError),
        ("encoder", swap_output_names, NamesError),
        ("decoder", fix_batch, ShapesError),
        ("decoder", give_doubles, TypesError),
    ],
)
def test_names_shapes_and_types_have_errors_of_their_own(
    graph: str,
    tamper: Callable[[onnx.ModelProto], None],
    error: type[ParityError],
    checkpoint: Checkpoint,
    bundle: Path,
) -> None:
    model = onnx.load(bundle / f"{graph}.onnx")
    tamper(model)
    replace(bundle, graph, "onnx", model.SerializeToString())
    with pytest.raises(error, match=f"{graph} in onnxruntime"):
        check(checkpoint, bundle, graph)


def test_the_sampler_without_faults_passes(checkpoint: Checkpoint, bundle: Path) -> None:
    check(checkpoint, bundle, "sampler")


def test_nan_is_never_within_a_limit(checkpoint: Checkpoint, bundle: Path) -> None:
    model = onnx.load(bundle / "decoder.onnx")
    bias = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 1)
    values = onnx.numpy_helper.to_array(bias).copy()
    values[:] = np.nan
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    replace(bundle, "decoder", "onnx", model.SerializeToString())
    with pytest.raises(ValuesError, match="off by nan"):
        check(checkpoint, bundle, "decoder")
