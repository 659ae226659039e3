"""The sizes of all values in an ONNX graph, worked out from the file before any memory is taken.

Operators are those that exported graphs hold; each has a rule that gives the shapes of its outputs. Shapes that a graph
computes itself (from `Shape`, for a reshape say) are followed as numbers. An operator without a rule, and a size that
cannot be worked out, are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from runtime.onnx_guard import rules_elements, rules_layout, rules_sums
from runtime.onnx_guard.call import Call, Shape, Value
from runtime.onnx_guard.graph import ForbiddenError, Graph

_MOST_RANK = 16
_RULES = {**rules_elements.RULES, **rules_layout.RULES, **rules_sums.RULES}
OPERATORS = tuple(sorted(_RULES))
"""Operators that a graph may hold."""


@dataclass(frozen=True)
class Sizes:
    """The sizes of one run of a graph."""

    elements: list[int]
    """Of the outputs of each node together, in the order of the nodes."""
    largest: int
    """Elements of the largest single value."""
    multiplications: int
    """Of matrix products and convolutions."""
    working: int
    """The most numbers that one node holds besides its inputs and outputs."""


def infer_sizes(graph: Graph, inputs: Mapping[str, Shape]) -> Sizes:
    """Follow every node of `graph` for inputs of these shapes. Raises ForbiddenError, naming the node that fails."""
    values = {"": Value(())}
    values.update((name, Value(shape)) for name, shape in inputs.items())
    values.update((constant.name, Value(constant.shape, constant.values)) for constant in graph.constants)
    elements: list[int] = []
    largest = multiplications = working = 0
    for node in graph.nodes:
        rule = _RULES.get(node.operator)
        if rule is None:
            raise ForbiddenError(f"it uses the operator {node.operator!r}")
        for name in node.inputs:
            if name not in values:
                raise ForbiddenError(f"{node.operator} takes {name!r}, which nothing before it makes")
        call = Call(node, [values[name] for name in node.inputs], graph.opset)
        try:
            outputs = rule(call)
        except (ValueError, IndexError, TypeError, KeyError, OverflowError, ZeroDivisionError, AttributeError) as error:
            shapes = ", ".join(str(value.shape) for value in call.inputs)
            raise ForbiddenError(f"{node.operator} cannot take inputs of the shapes {shapes} ({error})") from None
        for name, output in zip(node.outputs, outputs, strict=False):
            if len(output.shape) > _MOST_RANK or min(output.shape, default=1) < 1:
                raise ForbiddenError(f"{node.operator} would make a value of the shape {output.shape}")
            if name in values and name:
                raise ForbiddenError(f"{name!r} is made twice")
            values[name] = output
        if len(node.outputs) > len(outputs):
            raise ForbiddenError(f"{node.operator} has {len(node.outputs)} outputs")
        values[""] = Value(())
        counts = [output.elements for output in outputs[: len(node.outputs)]]
        elements.append(sum(counts))
        largest = max(largest, *counts, 0)
        multiplications += rules_sums.multiplications(call, outputs)
        working = max(working, rules_sums.working_memory(call))
    for name in graph.outputs:
        if name not in values:
            raise ForbiddenError(f"nothing makes its output {name!r}")
    return Sizes(elements, largest, multiplications, working)
