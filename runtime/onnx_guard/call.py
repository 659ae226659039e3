"""A node of an ONNX graph with what is known of its inputs before the graph runs: shapes, and small numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from runtime.onnx_guard.graph import Node

MOST_KNOWN = 4096  # elements of a value that is followed as numbers

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Value:
    """What is known of a value before the graph runs."""

    shape: Shape
    known: npt.NDArray[Any] | None = None
    """The numbers themselves, where they follow from the file and the shapes of the inputs."""

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Call:
    """A node with what is known of its inputs."""

    node: Node
    inputs: list[Value]
    opset: int

    def has(self, index: int) -> bool:
        return index < len(self.inputs) and bool(self.node.inputs[index])

    def shape(self, index: int = 0) -> Shape:
        if not self.has(index):
            raise ValueError(f"input {index} is missing")
        return self.inputs[index].shape

    def attribute(self, name: str, default: Any = None) -> Any:
        return self.node.attributes.get(name, default)

    def numbers(self, index: int) -> list[int]:
        """An input that says sizes or axes."""
        known = self.inputs[index].known
        if known is None:
            raise ValueError(f"input {index} is not fixed by the file")
        return [int(number) for number in known.ravel()]

    def axis(self, default: int | None = None, rank: int | None = None) -> int:
        axis = self.attribute("axis", default)
        rank = len(self.shape()) if rank is None else rank
        if axis is None or not -rank <= axis < rank:
            raise ValueError(f"axis {axis} of {rank}")
        return int(axis) % rank

    def axes(self, index: int, rank: int) -> list[int] | None:
        """Axes as an input (newer operators) or an attribute (older ones); None where neither says any."""
        given = self.numbers(index) if self.has(index) else self.attribute("axes")
        if given is None:
            return None
        if any(not -rank <= axis < rank for axis in given):
            raise ValueError(f"axes {given} of {rank}")
        return [int(axis) % rank for axis in given]


Rule = Callable[[Call], Sequence[Value]]
"""The outputs of a node, from what is known of its inputs; raises any ordinary error where the inputs do not fit."""
