"""A decoder or an encoder in ONNX → the steps of its C source; what there is no C for is refused by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from export.c_source.network import Activation, Add, Convolution, Linear, Network, Reorder, Scale, Step
from export.errors import ExportError

_Layer = Callable[[onnx.NodeProto, dict[str, Any]], None]
_ACTIVATIONS = {"Relu": "relu", "LeakyRelu": "leaky_relu", "Tanh": "tanh", "Sigmoid": "sigmoid"}


@dataclass(frozen=True)
class _Tensor:
    """A tensor of the graph: where it is stored, and how."""

    name: str
    shape: tuple[int, ...]
    """Without the batch: (features,) or (channels, height, width)."""
    order: npt.NDArray[np.int64]
    """Place i of the storage holds number order[i] of the flattened tensor."""


def read_network(name: str, content: bytes) -> Network:
    """Read an ONNX file. name: decoder or encoder. Raises ExportError, naming an operator that has no C source."""
    model = onnx.load_from_string(content)
    reader = _Reader(name, model.graph)
    # All operators first: of a group normalisation, its own name says more than the reshape before it.
    layers = [reader.layer(node) for node in model.graph.node]
    for node, layer in zip(model.graph.node, layers, strict=True):
        layer(node, {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute})
    outputs = tuple(reader.finish(output.name) for output in model.graph.output)
    return Network(name, model.graph.input[0].name, outputs, tuple(reader.steps), reader.sizes)


class _Reader:
    def __init__(self, name: str, graph: onnx.GraphProto) -> None:
        self.name = name
        self.steps: list[Step] = []
        self.sizes: dict[str, int] = {}
        self._constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self._tensors: dict[str, _Tensor] = {}
        self._sigmoids: dict[str, str] = {}  # output → input
        self._layers: dict[str, _Layer] = {
            "Gemm": self._gemm,
            "MatMul": self._matmul,
            "Conv": self._conv,
            "ConvTranspose": self._convtranspose,
            "BatchNormalization": self._batchnormalization,
            "Add": self._add,
            "Sub": self._sub,
            "Mul": self._mul,
            "Div": self._div,
            "Reshape": self._reshape,
            "Flatten": self._flatten,
            "Split": self._split,
            "Identity": self._identity,
            "Constant": self._constant_node,
            "Clip": self._clip,
            **dict.fromkeys(_ACTIVATIONS, self._activation),
        }
        (port,) = graph.input
        shape = tuple(axis.dim_value for axis in port.type.tensor_type.shape.dim[1:])
        self._define(port.name, shape, _stored_order(shape))

    def layer(self, node: onnx.NodeProto) -> _Layer:
        """What appends the steps of a node. Raises ExportError where there is no such layer."""
        layer = self._layers.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if layer is None:
            raise self._refusal(node, "has no such layer")
        return layer

    def finish(self, name: str) -> str:
        """The storage of an output in the order that C source gives it: as it is for images, flat for vectors."""
        tensor = self._tensors[name]
        return self._in_order(tensor, _stored_order(tensor.shape), f"{name}_ordered").name

    # ---- layers

    def _gemm(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        if attributes.get("transA", 0) or attributes.get("alpha", 1.0) != 1 or attributes.get("beta", 1.0) != 1:
            raise self._refusal(node, "knows neither transA nor alpha nor beta")
        weight = self._constant(node, 1)
        weight = weight.T if attributes.get("transB", 0) else weight
        bias = self._constant(node, 2) if len(node.input) > 2 else np.zeros(weight.shape[1])
        self._linear(node, weight, np.broadcast_to(bias.reshape(-1), weight.shape[1]))

    def _matmul(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        weight = self._constant(node, 1)
        if weight.ndim != 2:
            raise self._refusal(node, "multiplies by matrices only")
        self._linear(node, weight, np.zeros(weight.shape[1]))

    def _linear(self, node: onnx.NodeProto, weight: npt.NDArray[Any], bias: npt.NDArray[Any]) -> None:
        source = self._tensor(node, 0)
        if len(source.shape) != 1:
            raise self._refusal(node, "multiplies vectors only")
        outputs = weight.shape[1]
        target = self._define(node.output[0], (outputs,), np.arange(outputs))
        rows = weight.astype(np.float64)[source.order]
        self.steps.append(Linear(source.name, target.name, rows, bias.astype(np.float64)))

    def _conv(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        weight = self._constant(node, 1)  # (outputs, inputs, kernel height, kernel width)
        self._convolution(node, attributes, weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight, False)

    def _convtranspose(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        weight = self._constant(node, 1)  # (inputs, outputs, kernel height, kernel width)
        self._convolution(node, attributes, weight.transpose(2, 3, 0, 1) if weight.ndim == 4 else weight, True)

    def _convolution(
        self, node: onnx.NodeProto, attributes: dict[str, Any], weight: npt.NDArray[Any], transposed: bool
    ) -> None:
        source = self._tensor(node, 0)
        automatic = attributes.get("auto_pad", b"NOTSET") != b"NOTSET" or "output_shape" in attributes
        if weight.ndim != 4 or len(source.shape) != 3 or attributes.get("group", 1) != 1 or automatic:
            raise self._refusal(node, "knows two dimensions, one group and explicit padding")
        high, wide, _, outputs = weight.shape
        pads = attributes.get("pads", [0, 0, 0, 0])
        stride, dilation, extra = (
            tuple(attributes.get(key, [default] * 2))
            for key, default in (("strides", 1), ("dilations", 1), ("output_padding", 0))
        )
        size = []
        for axis, kernel in enumerate((high, wide)):
            span, padding, given = (
                dilation[axis] * (kernel - 1) + 1,
                pads[axis] + pads[axis + 2],
                source.shape[axis + 1],
            )
            if transposed:
                size.append((given - 1) * stride[axis] + span - padding + extra[axis])
            else:
                size.append((given + padding - span) // stride[axis] + 1)
        bias = self._constant(node, 2) if len(node.input) > 2 else np.zeros(outputs)
        shape = (outputs, *size)
        target = self._define(node.output[0], shape, _stored_order(shape))
        self.steps.append(
            Convolution(
                source.name,
                target.name,
                weight.astype(np.float64),
                bias.astype(np.float64),
                (source.shape[1], source.shape[2]),
                (size[0], size[1]),
                stride,
                (pads[0], pads[1]),
                dilation,
                transposed,
            )
        )

    def _activation(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        source = self._tensor(node, 0)
        target = self._define(node.output[0], source.shape, source.order)
        if node.op_type == "Sigmoid":
            self._sigmoids[node.output[0]] = node.input[0]
        numbers = (attributes.get("alpha", 0.01),) if node.op_type == "LeakyRelu" else ()
        self.steps.append(Activation(source.name, target.name, _ACTIVATIONS[node.op_type], numbers))

    def _clip(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        source = self._tensor(node, 0)
        bounds = [float(limit) for limit in (np.finfo(np.float32).min, np.finfo(np.float32).max)]
        for place in range(1, len(node.input)):
            if node.input[place]:
                bounds[place - 1] = float(self._constant(node, place))
        target = self._define(node.output[0], source.shape, source.order)
        self.steps.append(Activation(source.name, target.name, "clip", tuple(bounds)))

    def _batchnormalization(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        gain, offset, mean, variance = (self._constant(node, place).astype(np.float64) for place in range(1, 5))
        scale = gain / np.sqrt(variance + attributes.get("epsilon", 1e-5))
        self._scale(node, self._tensor(node, 0), scale, offset - mean * scale)

    # ---- arithmetic

    def _add(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        left, right = node.input
        if left in self._constants or right in self._constants:
            tensor, constant = self._with_constant(node)
            self._scale(node, tensor, np.ones_like(constant), constant)
            return
        source, other = self._tensor(node, 0), self._tensor(node, 1)
        if source.shape != other.shape:
            raise self._refusal(node, "adds tensors of one shape only")
        other = self._in_order(other, source.order, f"{node.output[0]}_other")
        target = self._define(node.output[0], source.shape, source.order)
        self.steps.append(Add(source.name, target.name, other.name))

    def _sub(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        tensor, constant = self._with_constant(node)
        first = node.input[0] in self._constants
        sign = np.ones_like(constant)
        self._scale(node, tensor, -sign if first else sign, constant if first else -constant)

    def _mul(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        for gate, value in (node.input, reversed(node.input)):
            if self._sigmoids.get(gate) == value:
                source = self._tensors[value]
                target = self._define(node.output[0], source.shape, source.order)
                self.steps.append(Activation(source.name, target.name, "silu"))
                return
        tensor, constant = self._with_constant(node)
        self._scale(node, tensor, constant, np.zeros_like(constant))

    def _div(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        tensor, constant = self._with_constant(node)
        if node.input[0] in self._constants:
            raise self._refusal(node, "divides by constants only")
        self._scale(node, tensor, 1 / constant, np.zeros_like(constant))

    def _scale(
        self, node: onnx.NodeProto, source: _Tensor, scale: npt.NDArray[np.float64], shift: npt.NDArray[np.float64]
    ) -> None:
        """scale, shift: one for each channel or feature, in the model's order."""
        if len(source.shape) == 1:
            scale, shift = scale[source.order], shift[source.order]
        target = self._define(node.output[0], source.shape, source.order)
        self.steps.append(Scale(source.name, target.name, scale, shift))

    def _with_constant(self, node: onnx.NodeProto) -> tuple[_Tensor, npt.NDArray[np.float64]]:
        """The operand that is a tensor, and the other one as one number for each of its channels or features."""
        known = [place for place in (0, 1) if node.input[place] in self._constants]
        if len(known) != 1:
            raise self._refusal(node, "combines two tensors by addition only")
        tensor, constant = self._tensor(node, 1 - known[0]), self._constant(node, known[0]).astype(np.float64)
        channels = tensor.shape[0]
        wide = constant.reshape((1,) * (len(tensor.shape) + 1 - constant.ndim) + constant.shape)
        if wide.ndim != len(tensor.shape) + 1 or wide.size not in (1, channels) or wide.shape[1] not in (1, channels):
            raise self._refusal(node, "knows constants of one number for each channel only")
        return tensor, np.broadcast_to(wide.reshape(-1), channels).copy()

    # ---- shapes

    def _reshape(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        source = self._tensor(node, 0)
        sizes = [int(size) for size in self._constant(node, 1)][1:]
        if 0 in sizes or sizes.count(-1) > 1:
            raise self._refusal(node, "keeps the batch as the first axis and needs the sizes of the others")
        rest = self.sizes[source.name] // max(1, -int(np.prod(sizes))) if -1 in sizes else 0
        self._view(node, tuple(rest if size == -1 else size for size in sizes))

    def _flatten(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        if attributes.get("axis", 1) != 1:
            raise self._refusal(node, "keeps the batch as the first axis")
        self._view(node, (self.sizes[self._tensor(node, 0).name],))

    def _split(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        source = self._tensor(node, 0)
        if attributes.get("axis", 0) not in (1, -len(source.shape)):
            raise self._refusal(node, "divides channels or features only")
        parts = len(node.output)
        if len(node.input) > 1 and node.input[1]:
            ends = np.cumsum(self._constant(node, 1))[:-1]
        else:  # equal parts, the last one smaller where they cannot be
            ends = np.arange(1, parts) * -(-source.shape[0] // parts)
        places = np.argsort(source.order).reshape(source.shape)
        for name, part in zip(node.output, np.split(places, ends), strict=True):
            order = _stored_order(part.shape)
            self._define(name, part.shape, order)
            self.steps.append(Reorder(source.name, name, part.ravel()[order]))

    def _identity(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        self._tensors[node.output[0]] = self._tensor(node, 0)

    def _constant_node(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        if set(attributes) != {"value"}:
            raise self._refusal(node, "knows constants that are tensors only")
        self._constants[node.output[0]] = numpy_helper.to_array(attributes["value"])

    def _view(self, node: onnx.NodeProto, shape: tuple[int, ...]) -> None:
        source = self._tensor(node, 0)
        if len(shape) not in (1, 3) or int(np.prod(shape)) != self.sizes[source.name]:
            raise self._refusal(node, "knows vectors and images, each with the batch as the first axis")
        if len(shape) == 3:
            source = self._in_order(source, _stored_order(shape), node.output[0])
        self._tensors[node.output[0]] = _Tensor(source.name, shape, source.order)

    def _in_order(self, tensor: _Tensor, order: npt.NDArray[np.int64], name: str) -> _Tensor:
        """The tensor stored in another order, by a step that moves its numbers unless they are there already."""
        if np.array_equal(tensor.order, order):
            return tensor
        self.steps.append(Reorder(tensor.name, name, np.argsort(tensor.order)[order]))
        self.sizes[name] = self.sizes[tensor.name]
        return _Tensor(name, tensor.shape, order)

    # ---- operands

    def _define(self, name: str, shape: tuple[int, ...], order: npt.NDArray[np.int64]) -> _Tensor:
        self._tensors[name] = _Tensor(name, shape, order)
        self.sizes[name] = int(np.prod(shape))
        return self._tensors[name]

    def _tensor(self, node: onnx.NodeProto, place: int) -> _Tensor:
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


def _stored_order(shape: Sequence[int]) -> npt.NDArray[np.int64]:
    """How a tensor of that shape is stored: as it is, or an image as height, width, channels."""
    numbers = np.arange(int(np.prod(shape)), dtype=np.int64)
    return numbers if len(shape) == 1 else numbers.reshape(shape).transpose(1, 2, 0).ravel()
