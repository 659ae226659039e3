"""Export of a graph to `.pte`, for ExecuTorch on phones, with the matrix products and convolutions on XNNPACK."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from export.errors import ExportError
from export.quiet import quiet
from export.specs import GraphSpec
from runtime.extras import how_to_install
from runtime.manifest import Executorch, Port

LARGEST_BATCH = 64
"""Of a call. ExecuTorch reserves the memory of the largest batch when a program is loaded."""

_BACKEND = "XNNPACK"
_aten = torch.ops.aten


def require_executorch() -> None:
    """Raise ExportError where the package that makes `.pte` files is not installed."""
    if find_spec("executorch") is None:
        raise ExportError(f"the format pte needs the extra `executorch`: {how_to_install('executorch')}")


def executorch_record(graphs: tuple[GraphSpec, ...]) -> Executorch:
    """What the manifest says about the `.pte` files of `graphs`."""
    files = {spec.name: f"{spec.name}.pte" for spec in graphs}
    return Executorch(version("executorch"), _BACKEND, min(map(largest_batch, graphs)), files)


def largest_batch(spec: GraphSpec) -> int:
    """The largest batch that the `.pte` file of a graph takes."""
    return min(LARGEST_BATCH, spec.largest_batch or LARGEST_BATCH)


def to_pte(spec: GraphSpec) -> bytes:
    """The content of a `.pte` file: the method `forward`, and those that a TorchScript file keeps too.

    The methods let the parity check, and anybody, see the latents that the file itself computes.
    """
    require_executorch()
    with quiet():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower

        programs = {"forward": _bounded(spec).program}
        programs |= {name: _program_of_method(spec, name) for name in spec.methods}
        for program in programs.values():
            _shift_as_the_runtime_does(program)
        lowered = to_edge_transform_and_lower(
            programs,
            partitioner=[XnnpackPartitioner()],
            compile_config=EdgeCompileConfig(
                _core_aten_ops_exception_list=[_aten.bitwise_right_shift.Tensor_Scalar],
            ),
        )
        content: bytes = lowered.to_executorch().buffer
    return content


def _bounded(spec: GraphSpec) -> GraphSpec:
    return replace(spec, largest_batch=largest_batch(spec))


class _Method(nn.Module):
    """Another method of a module, as its `forward`."""

    def __init__(self, module: nn.Module, name: str) -> None:
        super().__init__()
        self.module = module
        self.method = name

    def forward(self, *inputs: Tensor) -> Tensor:
        result: Tensor = getattr(self.module, self.method)(*inputs)
        return result


def _program_of_method(spec: GraphSpec, name: str) -> torch.export.ExportedProgram:
    """A method of a sampler, traced as a graph of its own."""
    inputs = [port for port in spec.inputs if port.name in ("seed", "index", "label")]
    if name == "component":
        inputs = [Port("word", "int64", ("N",), None), *(port for port in inputs if port.name == "label")]
    ports = replace(_bounded(spec), inputs=tuple(inputs))
    module = _Method(spec.module, name).eval()
    return torch.export.export(module, ports.example_inputs(), dynamic_shapes=(ports.dynamic_shapes(),))


def _shift_as_the_runtime_does(program: torch.export.ExportedProgram) -> None:
    """Replace `>>`, which ExecuTorch does not know, by the operator of the same meaning that it does.

    The change is made here and not in `export.noise`, whose other formats are published bytes.
    """
    for node in program.graph.nodes:
        if node.target is _aten.__rshift__.Scalar:
            node.target = _aten.bitwise_right_shift.Tensor_Scalar
