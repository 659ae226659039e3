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

from export.checks.other_engines import other_engines
from export.formats.to_pt2 import load_pt2
from export.formats.to_torchscript import load_torchscript
from export.graphs import GraphSpec, Sampler
from runtime.bundle import Bundle
from runtime.manifest import Port
from runtime.session import GraphSession, open_session

Arrays = Sequence[npt.NDArray[Any]]


@dataclass(frozen=True)
class Engine:
    """One graph, loaded in one engine."""

    name: str
    run: Callable[[Arrays], Arrays]
    """Inputs → outputs, both in the graph's order."""
    latents: Callable[[Arrays], npt.NDArray[Any]] | None = None
    """Samplers only: seed (), index (N,) → float32 (N, L), the latents at temperature 1, as the graph computes them."""
    ports: tuple[list[Port], list[Port]] | None = None
    """Inputs and outputs as the file declares them, without ranges; None for formats that declare none."""
    interpreted: bool = False
    """Whether it interprets the graph in NumPy, which takes much more time and memory than the others."""


def eager(spec: GraphSpec) -> Engine:
    """PyTorch in float32, running the module before export."""
    module = spec.module
    latents = (lambda inputs: _run(module.latents, inputs)[0]) if isinstance(module, Sampler) else None
    return Engine("PyTorch eager", lambda inputs: _run(module, inputs), latents)


def exported(spec: GraphSpec, bundle: Bundle, *, strict: bool = False) -> list[Engine]:
    """Every engine for which `bundle` has a file of the graph. strict: also OpenVINO and OpenCV, where installed."""
    files = bundle.manifest.graphs[spec.name].files
    engines = []
    if "torchscript" in files:
        engines.append(_torchscript(bundle.read(files["torchscript"])))
    if "pt2" in files:
        engines.append(_pt2(bundle.read(files["pt2"])))
    if "onnx" in files:
        content = bundle.read(files["onnx"])
        model = onnx.load_from_string(content)
        engines += [
            _onnxruntime("onnxruntime", spec, bundle, model, optimize=True),
            _onnxruntime("onnxruntime, plain", spec, bundle, model, optimize=False),
            _onnx_reference(model),
        ]
        if strict:
            ports = _declared(model)
            engines += [Engine(name, run, None, ports) for name, run in other_engines(spec, content)]
    return engines


def _torchscript(content: bytes) -> Engine:
    module = load_torchscript(content)
    latents = (lambda inputs: _run(module.latents, inputs)[0]) if hasattr(module, "latents") else None
    return Engine("TorchScript", lambda inputs: _run(module, inputs), latents)


def _pt2(content: bytes) -> Engine:
    module = load_pt2(content)
    noise = _noise_of_program(load_pt2(content))
    latents = None
    if noise is not None:

        def latents(inputs: Arrays) -> npt.NDArray[Any]:
            unused_temperature = torch.ones(())
            seed, index = (torch.from_numpy(np.asarray(array)) for array in inputs)
            result: tuple[torch.Tensor] = noise.run(seed, index, unused_temperature, enable_io_processing=False)
            return result[0].numpy()

    return Engine("torch.export", lambda inputs: _run(module, inputs), latents)


def _noise_of_program(module: torch.fx.GraphModule) -> torch.fx.Interpreter | None:
    """The noise of a sampler: its graph up to the latents, before their product with the temperature. Else None."""
    scaling = next((node for node in module.graph.nodes if _takes_temperature(node)), None)
    if scaling is None:
        return None
    (latents,) = (node for node in scaling.args if node.name != "temperature")
    module.graph.output_node().args = ((latents,),)
    module.graph.eliminate_dead_code()
    return torch.fx.Interpreter(module)


def _takes_temperature(node: torch.fx.Node) -> bool:
    return node.op == "call_function" and any(
        isinstance(argument, torch.fx.Node) and argument.name == "temperature" for argument in node.args
    )


def _onnxruntime(name: str, spec: GraphSpec, bundle: Bundle, model: onnx.ModelProto, *, optimize: bool) -> Engine:
    """onnxruntime through `runtime.session`, the code that users run. optimize: with its graph optimisations."""
    noise = noise_part(model)
    latents = None
    if noise is not None:
        session = open_session(noise.SerializeToString(), optimize=optimize)

        def latents(inputs: Arrays) -> npt.NDArray[Any]:
            result: npt.NDArray[Any] = session.run(None, dict(zip(("seed", "index"), inputs, strict=True)))[0]
            return result

    # Opened at the first run: GraphSession itself refuses wrong names, but NamesError should report them.
    open_graph = cache(lambda: GraphSession(bundle, spec.name, optimize=optimize))
    return Engine(name, lambda inputs: open_graph().run(*inputs), latents, _declared(model))


def _onnx_reference(model: onnx.ModelProto) -> Engine:
    """The NumPy evaluator of the onnx package."""
    noise = noise_part(model)
    latents = None
    if noise is not None:
        run_noise = _evaluator(noise)

        def latents(inputs: Arrays) -> npt.NDArray[Any]:
            return run_noise(inputs)[0]

    return Engine("ONNX reference", _evaluator(model), latents, _declared(model), interpreted=True)


def _evaluator(model: onnx.ModelProto) -> Callable[[Arrays], Arrays]:
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(model)
    names = evaluator.input_names

    def run(inputs: Arrays) -> Arrays:
        with np.errstate(over="ignore"):  # its sigmoid computes 1 / (1 + inf) for large negative logits, correctly
            return list(evaluator.run(None, dict(zip(names, inputs, strict=True))))

    return run


def noise_part(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """The noise of a sampler as a model of its own: seed (), index (N,) → latents at temperature 1, float32 (N, L).

    It has the same nodes and tables, up to the latents, which are multiplied by the temperature next. None for a graph
    without temperature.
    """
    graph = model.graph
    scaling = next((node for node in graph.node if "temperature" in node.input), None)
    if scaling is None:
        return None
    (latents,) = (name for name in scaling.input if name != "temperature")
    needed, nodes = {latents}, []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            nodes.append(node)
    noise = onnx.helper.make_graph(
        nodes[::-1],
        "noise",
        [port for port in graph.input if port.name in needed],
        [onnx.helper.make_empty_tensor_value_info(latents)],
        [tensor for tensor in graph.initializer if tensor.name in needed],
    )
    return onnx.helper.make_model(noise, opset_imports=model.opset_import, ir_version=model.ir_version)


def _declared(model: onnx.ModelProto) -> tuple[list[Port], list[Port]]:
    inputs, outputs = ([_port(value) for value in side] for side in (model.graph.input, model.graph.output))
    return inputs, outputs


def _port(value: onnx.ValueInfoProto) -> Port:
    tensor = value.type.tensor_type
    shape = tuple("N" if axis.dim_param else axis.dim_value for axis in tensor.shape.dim)
    return Port(value.name, onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name, shape, None)


@torch.no_grad()
def _run(function: Callable[..., Any], inputs: Arrays) -> Arrays:
    outputs = function(*(torch.from_numpy(np.asarray(array)) for array in inputs))
    return [output.numpy() for output in (outputs if isinstance(outputs, tuple) else (outputs,))]
