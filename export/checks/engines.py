"""The engines that run an exported graph in the parity check, behind one interface. They read the bundle's files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from threadpoolctl import threadpool_limits

from export.checks.other_engines import other_engines
from export.checks.parts import component_of_program, component_part, latents_of_program, latents_part
from export.formats.to_pt2 import load_pt2
from export.formats.to_torchscript import load_torchscript
from export.specs import GraphSpec
from runtime.bundle import Bundle
from runtime.manifest import Port
from runtime.session import GraphSession, open_session
from trainer.threads import one_thread

Arrays = Sequence[npt.NDArray[Any]]


@dataclass(frozen=True)
class Engine:
    """One graph, loaded in one engine."""

    name: str
    run: Callable[[Arrays], Arrays]
    """Inputs → outputs, both in the graph's order."""
    latents: Callable[[Arrays], npt.NDArray[Any]] | None = None
    """Samplers only: seed (), index (N,), perhaps label (N,) → float32 (N, L), the latents at temperature 1, as the
    graph computes them."""
    component: Callable[[Arrays], npt.NDArray[Any]] | None = None
    """Samplers of a mixture only: random words int64 (N,), perhaps label (N,) → components int64 (N,), likewise."""
    ports: tuple[list[Port], list[Port]] | None = None
    """Inputs and outputs as the file declares them, without ranges; None for formats that declare none."""
    interpreted: bool = False
    """Whether it interprets the graph in NumPy, which takes much more time and memory than the others."""


def eager(spec: GraphSpec) -> Engine:
    """PyTorch in float32, running the module before export."""
    return _of_module("PyTorch eager", spec.module)


def exported(spec: GraphSpec, bundle: Bundle, *, strict: bool = False) -> list[Engine]:
    """Every engine for which `bundle` has a file of the graph. strict: also OpenVINO and OpenCV, where installed."""
    files = bundle.manifest.graphs[spec.name].files
    engines = []
    if "torchscript" in files:
        engines.append(_of_module("TorchScript", load_torchscript(bundle.read(files["torchscript"]))))
    if "pt2" in files:
        engines.append(_pt2(bundle.read(files["pt2"])))
    if "onnx" in files:
        content = bundle.read(files["onnx"])
        model = onnx.load_from_string(content)
        engines += [
            _onnxruntime("onnxruntime", spec, bundle, model, optimize=True),
            _onnxruntime("onnxruntime, plain", spec, bundle, model, optimize=False),
            onnx_reference(model),
        ]
        if strict:
            ports = _declared(model)
            engines += [Engine(name, run, ports=ports) for name, run in other_engines(spec, content)]
    return engines


def _of_module(name: str, module: torch.nn.Module) -> Engine:
    """A module, with the methods of a sampler if it has them."""
    latents, component = (
        (lambda inputs, method=method: _run(getattr(module, method), inputs)[0]) if hasattr(module, method) else None
        for method in ("latents", "component")
    )
    return Engine(name, lambda inputs: _run(module, inputs), latents, component)


def _pt2(content: bytes) -> Engine:
    module = load_pt2(content)
    return Engine(
        "torch.export",
        lambda inputs: _run(module, inputs),
        _on_arrays(latents_of_program(module)),
        _on_arrays(component_of_program(module)),
    )


def _on_arrays(function: Callable[..., torch.Tensor] | None) -> Callable[[Arrays], npt.NDArray[Any]] | None:
    """A function of tensors as one of arrays."""
    return None if function is None else lambda inputs: _run(function, inputs)[0]


def _onnxruntime(name: str, spec: GraphSpec, bundle: Bundle, model: onnx.ModelProto, *, optimize: bool) -> Engine:
    """onnxruntime through `runtime.session`, the code that users run. optimize: with its graph optimisations."""

    def open_part(part: onnx.ModelProto | None) -> Callable[[Arrays], npt.NDArray[Any]] | None:
        if part is None:
            return None
        session = open_session(part.SerializeToString(), optimize=optimize)
        names = [port.name for port in part.graph.input]

        def run(inputs: Arrays) -> npt.NDArray[Any]:
            result: npt.NDArray[Any] = session.run(None, dict(zip(names, inputs, strict=True)))[0]
            return result

        return run

    # Opened at the first run: GraphSession itself refuses wrong names, but NamesError should report them.
    open_graph = cache(lambda: GraphSession(bundle, spec.name, optimize=optimize))
    return Engine(
        name,
        lambda inputs: open_graph().run(*inputs),
        open_part(latents_part(model)),
        open_part(component_part(model)),
        _declared(model),
    )


def onnx_reference(model: onnx.ModelProto) -> Engine:
    """The NumPy evaluator of the onnx package."""

    def open_part(part: onnx.ModelProto | None) -> Callable[[Arrays], npt.NDArray[Any]] | None:
        if part is None:
            return None
        run = _evaluator(part)
        return lambda inputs: run(inputs)[0]

    return Engine(
        "ONNX reference",
        _evaluator(model),
        open_part(latents_part(model)),
        open_part(component_part(model)),
        _declared(model),
        interpreted=True,
    )


def _evaluator(model: onnx.ModelProto) -> Callable[[Arrays], Arrays]:
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(model)
    names = evaluator.input_names

    def run(inputs: Arrays) -> Arrays:
        # It is judged by its outputs, not by the processor's flags: its sigmoid computes 1 / (1 + inf) for large
        # negative logits, and OpenBLAS's float32 product of a row, with AVX512, also computes lanes that hold what the
        # stack held before and throws them away. One thread, as in `_run`.
        with np.errstate(all="ignore"), threadpool_limits(1, user_api="blas"):
            return list(evaluator.run(None, dict(zip(names, inputs, strict=True))))

    return run


def _declared(model: onnx.ModelProto) -> tuple[list[Port], list[Port]]:
    inputs, outputs = ([_port(value) for value in side] for side in (model.graph.input, model.graph.output))
    return inputs, outputs


def _port(value: onnx.ValueInfoProto) -> Port:
    tensor = value.type.tensor_type
    shape = tuple("N" if axis.dim_param else axis.dim_value for axis in tensor.shape.dim)
    return Port(value.name, onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name, shape, None)


@torch.no_grad()
def _run(function: Callable[..., Any], inputs: Arrays) -> Arrays:
    """In one thread: more of them divide a tensor where torch's vectors end, and the last digits of `parity.json` would
    depend on their number.
    """
    with one_thread():
        outputs = function(*(torch.from_numpy(np.asarray(array)) for array in inputs))
    return [output.numpy() for output in (outputs if isinstance(outputs, tuple) else (outputs,))]
