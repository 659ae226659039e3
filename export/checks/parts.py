"""Parts of an exported sampler, cut out of the published graph itself: its latents, and its choice of a component.

A part has the nodes and tables of the file. The latents of a sampler without a mixture are what the temperature is
multiplied with; those of a mixture are what is multiplied with `scale`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

_SHIFT, _SCALE = "shift", "scale"  # names of a mixture's tables in every format


def latents_part(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """seed (), index (N,), and label (N,) where the graph has it → latents at temperature 1, float32 (N, L).

    None for a graph without temperature.
    """
    graph = model.graph
    scaling = next((node for node in graph.node if "temperature" in node.input), None)
    if scaling is None:
        return None
    scale = _lookup(graph, _SCALE)
    if scale is None:
        (latents,) = (name for name in scaling.input if name != "temperature")
    else:
        (product,) = (node for node in graph.node if scale.output[0] in node.input)
        (latents,) = product.output
    inputs = [port for port in graph.input if port.name != "temperature"]
    one = numpy_helper.from_array(np.array(1, np.float32), "temperature")
    return _part(model, "latents", inputs, latents, [one])


def component_part(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """word int64 (N,), and label (N,) where the graph has it → components int64 (N,). None without a mixture."""
    graph = model.graph
    shift = _lookup(graph, _SHIFT)
    if shift is None:
        return None
    makers = {name: node for node in graph.node for name in node.output}
    component = shift.input[1]
    choice = makers[component]  # Where(own, slot, alias); torch's exporter reshapes the indices of a look-up
    while choice.op_type == "Reshape":
        choice = makers[choice.input[0]]
    own = makers[choice.input[0]]  # Less(word & 0xFFFF, threshold)
    half_word = makers[own.input[0]]
    word = helper.make_tensor_value_info(half_word.input[0], TensorProto.INT64, ["N"])
    labels = [port for port in graph.input if port.name == "label"]
    return _part(model, "component", [word, *labels], component, [])


def _lookup(graph: onnx.GraphProto, table: str) -> onnx.NodeProto | None:
    """The Gather node that reads the table of that name."""
    return next((node for node in graph.node if node.op_type == "Gather" and node.input[0] == table), None)


def _part(
    model: onnx.ModelProto,
    name: str,
    inputs: Sequence[onnx.ValueInfoProto],
    output: str,
    constants: Sequence[onnx.TensorProto],
) -> onnx.ModelProto:
    """The nodes that lead from `inputs` to `output`, as a model."""
    graph = model.graph
    given = {port.name for port in inputs}
    needed, nodes = {output}, []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed |= set(node.input) - given
            nodes.append(node)
    part = helper.make_graph(
        nodes[::-1],
        name,
        inputs,
        [helper.make_empty_tensor_value_info(output)],
        [tensor for tensor in (*graph.initializer, *constants) if tensor.name in needed],
    )
    return helper.make_model(part, opset_imports=model.opset_import, ir_version=model.ir_version)


def latents_of_program(module: torch.fx.GraphModule) -> Callable[..., torch.Tensor] | None:
    """`latents_part` of a `.pt2` program."""
    nodes = module.graph.nodes
    scaling = next((node for node in nodes if _takes(node, "temperature")), None)
    if scaling is None:
        return None
    scale = _lookup_in_program(module, _SCALE)
    if scale is None:
        (latents,) = (node for node in scaling.args if node.name != "temperature")
    else:
        (latents,) = scale.users

    def run(*inputs: torch.Tensor) -> torch.Tensor:
        names = ("seed", "index", "label")[: len(inputs)]
        return _evaluate(module, latents, {**dict(zip(names, inputs, strict=True)), "temperature": torch.ones(())}, {})

    return run


def component_of_program(module: torch.fx.GraphModule) -> Callable[..., torch.Tensor] | None:
    """`component_part` of a `.pt2` program."""
    shift = _lookup_in_program(module, _SHIFT)
    if shift is None:
        return None
    component = shift.args[2]
    word = component.args[0].args[0].args[0]  # where(lt(and(word, 0xFFFF), threshold), slot, alias)

    def run(words: torch.Tensor, *labels: torch.Tensor) -> torch.Tensor:
        return _evaluate(module, component, dict(zip(("label",), labels, strict=False)), {word: words})

    return run


def _takes(node: torch.fx.Node, name: str) -> bool:
    return node.op == "call_function" and any(
        isinstance(argument, torch.fx.Node) and argument.name == name for argument in node.args
    )


def _lookup_in_program(module: torch.fx.GraphModule, table: str) -> Any:
    """The node that selects from the table of that name."""
    for node in module.graph.nodes:
        if node.op == "get_attr" and node.target == table:
            (lookup,) = node.users
            return lookup
    return None


def _evaluate(
    module: torch.fx.GraphModule,
    wanted: torch.fx.Node,
    inputs: dict[str, torch.Tensor],
    known: dict[torch.fx.Node, torch.Tensor],
) -> torch.Tensor:
    """The value of one node.

    inputs: by name; those that it does not depend on may be left out. known: values of other nodes.
    """
    needed, pending = set(known), [wanted]
    while pending:
        node = pending.pop()
        if node not in needed:
            needed.add(node)
            pending += node.all_input_nodes
    interpreter = torch.fx.Interpreter(module)
    values: dict[torch.fx.Node, Any] = dict(known)
    for node in module.graph.nodes:
        if node not in needed or node in values:
            continue
        if node.op == "placeholder":
            values[node] = inputs[node.name]
        else:
            interpreter.env = values
            values[node] = interpreter.run_node(node)
    result: torch.Tensor = values[wanted]
    return result
