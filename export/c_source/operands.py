"""Tensors and constants of an ONNX graph while it is read: where the C source stores each, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from export.c_source.network import Reorder, Step
from export.errors import ExportError


@dataclass(frozen=True)
class Tensor:
    """A tensor of the graph: where it is stored, and how."""

    name: str
    shape: tuple[int, ...]
    """Without the batch: (features,), (channels, height, width), or (groups, rest) within a normalisation."""
    order: npt.NDArray[np.int64]
    """Place i of the storage holds number order[i] of the flattened tensor."""


class Operands:
    """What a graph's nodes have given so far."""

    def __init__(self, name: str, graph: onnx.GraphProto) -> None:
        self.name = name
        self.steps: list[Step] = []
        self.sizes: dict[str, int] = {}
        self._constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self._tensors: dict[str, Tensor] = {}
        (port,) = graph.input
        shape = tuple(axis.dim_value for axis in port.type.tensor_type.shape.dim[1:])
        self._define(port.name, shape, stored_order(shape))

    def _view(self, node: onnx.NodeProto, shape: tuple[int, ...]) -> None:
        source = self._tensor(node, 0)
        if len(shape) not in (1, 2, 3) or int(np.prod(shape)) != self.sizes[source.name]:
            raise self._refusal(node, "knows vectors and images, each with the batch as the first axis")
        if len(shape) == 3:
            source = self._in_order(source, stored_order(shape), node.output[0])
        self._tensors[node.output[0]] = Tensor(source.name, shape, source.order)

    def _moved(self, name: str, source: Tensor, places: npt.NDArray[np.int64]) -> None:
        """Defines a tensor of the shape of `places`, whose numbers lie at those places of the storage of `source`."""
        order = stored_order(places.shape)
        self._define(name, places.shape, order)
        self.steps.append(Reorder(source.name, name, places.ravel()[order]))

    def _in_order(self, tensor: Tensor, order: npt.NDArray[np.int64], name: str) -> Tensor:
        """The tensor stored in another order, by a step that moves its numbers unless they are there already."""
        if np.array_equal(tensor.order, order):
            return tensor
        self.steps.append(Reorder(tensor.name, name, np.argsort(tensor.order)[order]))
        self.sizes[name] = self.sizes[tensor.name]
        return Tensor(name, tensor.shape, order)

    def _define(self, name: str, shape: tuple[int, ...], order: npt.NDArray[np.int64]) -> Tensor:
        self._tensors[name] = Tensor(name, shape, order)
        self.sizes[name] = int(np.prod(shape))
        return self._tensors[name]

    def _tensor(self, node: onnx.NodeProto, place: int) -> Tensor:
        found = self._tensors.get(node.input[place])
        if found is None:
            raise self._refusal(node, "expects a tensor where this one has a constant")
        return found

    def _constant(self, node: onnx.NodeProto, place: int) -> npt.NDArray[Any]:
        found = self._constants.get(node.input[place])
        if found is None:
            raise self._refusal(node, "expects a constant where this one has a tensor")
        return found

    def _refusal(self, node: onnx.NodeProto, reason: str) -> ExportError:
        return ExportError(
            f"{self.name}: its ONNX graph has the operator {node.op_type} ({node.name or node.output[0]}), "
            f"and C source {reason}; leave out --format c, or change the model"
        )


def stored_order(shape: Sequence[int]) -> npt.NDArray[np.int64]:
    """How a tensor of that shape is stored: as it is, or an image as height, width, channels."""
    numbers = np.arange(int(np.prod(shape)), dtype=np.int64)
    return numbers if len(shape) < 3 else numbers.reshape(shape).transpose(1, 2, 0).ravel()
