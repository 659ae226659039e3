"""Every engine that can run an exported graph here, behind one small interface, reading the very files of a bundle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch

from export.checks.other_engines import other_engines
from export.formats.to_pt2 import load_pt2
from export.formats.to_torchscript import load_torchscript
from export.graphs import GraphSpec, Sampler
from runtime.bundle import Bundle
from runtime.manifest import Port
from runtime.session import GraphSession

Arrays = Sequence[npt.NDArray[Any]]


@dataclass(frozen=True)
class Engine:
    """One graph in one engine."""

    name: str
    run: Callable[[Arrays], Arrays]
    """Outputs in the graph's order for inputs in the graph's order."""
    latents: Callable[[Arrays], npt.NDArray[Any]] | None = None
    """Of a sampler: the latents that its own noise draws for (seed, index), float32 (N, L)."""
    ports: tuple[list[Port], list[Port]] | None = None
    """The inputs and outputs that the file declares, where its format does; value ranges left out."""


def eager(spec: GraphSpec) -> Engine:
    """PyTorch in float32, on the module that is exported."""
    module = spec.module
    latents = (lambda inputs: _run(module.latents, inputs)[0]) if isinstance(module, Sampler) else None
    return Engine("PyTorch eager", lambda inputs: _run(module, inputs), latents)


def exported(spec: GraphSpec, bundle: Bundle, *, strict: bool = False) -> list[Engine]:
    """Each engine that `bundle` has a file of the graph for; strict: also OpenVINO and OpenCV, where installed."""
    files = bundle.manifest.graphs[spec.name].files
    engines = []
    if "torchscript" in files:
        engines.append(_torchscript(bundle.read(files["torchscript"])))
    if "pt2" in files:
        engines.append(_pt2(bundle.read(files["pt2"])))
    if "onnx" in files:
        content = bundle.read(files["onnx"])
        engines += [
            _onnxruntime("onnxruntime", spec, bundle, content, optimize=True),
            _onnxruntime("onnxruntime, plain", spec, bundle, content, optimize=False),
            _onnx_reference(content),
        ]
        if strict:
            ports = _declared(onnx.load_from_string(content))
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
    """Of a sampler, its noise alone: the graph cut off where the latents meet the temperature."""
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


def _onnxruntime(name: str, spec: GraphSpec, bundle: Bundle, content: bytes, *, optimize: bool) -> Engine:
    """Through `runtime.session`, the code that users will run."""
    ports = _declared(onnx.load_from_string(content))
    noise = noise_part(content)
    latents = None
    if noise is not None:
        session = _plain_session(noise.SerializeToString(), optimize=optimize)

        def latents(inputs: Arrays) -> npt.NDArray[Any]:
            result: npt.NDArray[Any] = session.run(None, dict(zip(("seed", "index"), inputs, strict=True)))[0]
            return result

    # Opened at the first run: it refuses wrong names by itself, but they are the first rung's to report.
    open_graph = cache(lambda: GraphSession(bundle, spec.name, optimize=optimize))
    return Engine(name, lambda inputs: open_graph().run(*inputs), latents, ports)


def _onnx_reference(content: bytes) -> Engine:
    """The evaluator in NumPy that comes with the standard."""
    model = onnx.load_from_string(content)
    noise = noise_part(content)
    latents = None
    if noise is not None:
        run_noise = _evaluator(noise)

        def latents(inputs: Arrays) -> npt.NDArray[Any]:
            return run_noise(inputs)[0]

    return Engine("ONNX reference", _evaluator(model), latents, _declared(model))


def _evaluator(model: onnx.ModelProto) -> Callable[[Arrays], Arrays]:
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(model)
    names = evaluator.input_names

    def run(inputs: Arrays) -> Arrays:
        with np.errstate(over="ignore"):  # its sigmoid of a large negative logit is 1 / (1 + inf), which is right
            return list(evaluator.run(None, dict(zip(names, inputs, strict=True))))

    return run


def _plain_session(content: bytes, *, optimize: bool) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def noise_part(content: bytes) -> onnx.ModelProto | None:
    """Of a sampler, its noise alone: the same nodes and tables, up to the latents, which meet the temperature next."""
    model = onnx.load_from_string(content)
    scaling = next((node for node in model.graph.node if "temperature" in node.input), None)
    if scaling is None:
        return None
    (latents,) = (name for name in scaling.input if name != "temperature")
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(latents))
    needed, nodes = {latents}, []
    for node in reversed(model.graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))
    inputs = [port for port in model.graph.input if port.name in needed]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    initializers = [tensor for tensor in model.graph.initializer if tensor.name in needed]
    del model.graph.initializer[:]
    model.graph.initializer.extend(initializers)
    return model


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
