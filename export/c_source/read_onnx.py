"""A decoder or an encoder in ONNX → the steps of its C source; what there is no C for is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx

from export.c_source.network import Activation, Combination, Convolution, Linear, Network, Normalization, Scale
from export.c_source.operands import Tensor, stored_order
from export.c_source.read_shapes import Shapes

_Layer = Callable[[onnx.NodeProto, dict[str, Any]], None]
_ACTIVATIONS = {
    "Relu": "relu",
    "LeakyRelu": "leaky_relu",
    "Tanh": "tanh",
    "Sigmoid": "sigmoid",
    "Elu": "elu",
    "Erf": "erf",
}


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


class _Reader(Shapes):
    def __init__(self, name: str, graph: onnx.GraphProto) -> None:
        super().__init__(name, graph)
        self._sigmoids: dict[str, str] = {}  # output → input
        self._layers: dict[str, _Layer] = {
            "Gemm": self._gemm,
            "MatMul": self._matmul,
            "Conv": self._conv,
            "ConvTranspose": self._convtranspose,
            "BatchNormalization": self._batchnormalization,
            "InstanceNormalization": self._instancenormalization,
            "LayerNormalization": self._layernormalization,
            "Add": self._add,
            "Sub": self._sub,
            "Mul": self._mul,
            "Div": self._div,
            "Reshape": self._reshape,
            "Flatten": self._flatten,
            "Unsqueeze": self._unsqueeze,
            "Shape": self._shape,
            "Concat": self._concat,
            "Split": self._split,
            "Resize": self._resize,
            "Pad": self._pad,
            "DepthToSpace": self._depthtospace,
            "Identity": self._identity,
            "Constant": self._constant_node,
            "Clip": self._clip,
            **dict.fromkeys(_ACTIVATIONS, self._activation),
        }

    def layer(self, node: onnx.NodeProto) -> _Layer:
        """What appends the steps of a node. Raises ExportError where there is no such layer."""
        layer = self._layers.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if layer is None:
            raise self._refusal(node, "has no such layer")
        return layer

    def finish(self, name: str) -> str:
        """The storage of an output in the order that C source gives it: as it is for images, flat for vectors."""
        tensor = self._tensors[name]
        return self._in_order(tensor, stored_order(tensor.shape), f"{name}_ordered").name

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
        target = self._define(node.output[0], shape, stored_order(shape))
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
        slopes = {"LeakyRelu": 0.01, "Elu": 1.0}
        numbers = (attributes.get("alpha", slopes[node.op_type]),) if node.op_type in slopes else ()
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

    def _instancenormalization(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        """Of a group normalisation too, which reshapes its channels to (groups, rest) before and back after it."""
        source = self._tensor(node, 0)
        scale, shift = (self._constant(node, place).astype(np.float64) for place in (1, 2))
        normal = self._normalized(node, source, source.shape[0], attributes)
        if len(source.shape) == 3 or ((scale == 1).all() and not shift.any()):
            self._scale_unless_one(node, normal, scale, shift)
        else:
            raise self._refusal(node, "scales images only")

    def _layernormalization(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        source = self._tensor(node, 0)
        if len(source.shape) != 1 or len(node.output) > 1:
            raise self._refusal(node, "normalises vectors, and channels of images, only")
        scale = self._constant(node, 1).astype(np.float64)
        shift = self._constant(node, 2).astype(np.float64) if len(node.input) > 2 else np.zeros_like(scale)
        self._scale_unless_one(node, self._normalized(node, source, 1, attributes), scale, shift)

    def _normalized(self, node: onnx.NodeProto, source: Tensor, groups: int, attributes: dict[str, Any]) -> Tensor:
        """The tensor with mean 0 and variance 1 in each of `groups` equal parts of its first axis."""
        size = self.sizes[source.name]
        group = source.order // (size // groups)  # of each place of the storage
        falls = np.flatnonzero(np.diff(group) < 0)
        channels = int(falls[0]) + 1 if len(falls) else size
        pattern = np.tile(np.repeat(np.arange(groups), channels // groups), size // channels)
        if not np.array_equal(group, pattern):
            raise self._refusal(node, "normalises groups of neighbouring channels only")
        normal = self._define(f"{node.output[0]}_normal", source.shape, source.order)
        epsilon = float(attributes.get("epsilon", 1e-5))
        self.steps.append(Normalization(source.name, normal.name, groups, channels // groups, epsilon))
        return normal

    def _scale_unless_one(
        self, node: onnx.NodeProto, source: Tensor, scale: npt.NDArray[np.float64], shift: npt.NDArray[np.float64]
    ) -> None:
        if (scale == 1).all() and not shift.any():
            self._tensors[node.output[0]] = source
        else:
            self._scale(node, source, scale, shift)

    # ---- arithmetic

    def _add(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        left, right = node.input
        if left in self._constants or right in self._constants:
            tensor, constant = self._with_constant(node)
            self._scale(node, tensor, np.ones_like(constant), constant)
            return
        self._combine(node, "add")

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
        if node.input[0] in self._constants or node.input[1] in self._constants:
            tensor, constant = self._with_constant(node)
            self._scale(node, tensor, constant, np.zeros_like(constant))
        else:
            self._combine(node, "multiply")

    def _div(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        tensor, constant = self._with_constant(node)
        if node.input[0] in self._constants:
            raise self._refusal(node, "divides by constants only")
        self._scale(node, tensor, 1 / constant, np.zeros_like(constant))

    def _combine(self, node: onnx.NodeProto, name: Literal["add", "multiply"]) -> None:
        source, other = self._tensor(node, 0), self._tensor(node, 1)
        if source.shape != other.shape:
            raise self._refusal(node, "combines tensors of one shape only")
        other = self._in_order(other, source.order, f"{node.output[0]}_other")
        target = self._define(node.output[0], source.shape, source.order)
        self.steps.append(Combination(source.name, target.name, name, other.name))

    def _scale(
        self, node: onnx.NodeProto, source: Tensor, scale: npt.NDArray[np.float64], shift: npt.NDArray[np.float64]
    ) -> None:
        """scale, shift: one for each channel or feature, in the model's order."""
        if len(source.shape) == 2:
            raise self._refusal(node, "scales vectors and images only")
        if len(source.shape) == 1:
            scale, shift = scale[source.order], shift[source.order]
        target = self._define(node.output[0], source.shape, source.order)
        self.steps.append(Scale(source.name, target.name, scale, shift))

    def _with_constant(self, node: onnx.NodeProto) -> tuple[Tensor, npt.NDArray[np.float64]]:
        """The operand that is a tensor, and the other one as one number for each of its channels or features."""
        known = [place for place in (0, 1) if node.input[place] in self._constants]
        if len(known) != 1:
            raise self._refusal(node, "combines two tensors by addition and multiplication only")
        tensor, constant = self._tensor(node, 1 - known[0]), self._constant(node, known[0]).astype(np.float64)
        channels = tensor.shape[0]
        wide = constant.reshape((1,) * (len(tensor.shape) + 1 - constant.ndim) + constant.shape)
        if wide.ndim != len(tensor.shape) + 1 or wide.size not in (1, channels) or wide.shape[1] not in (1, channels):
            raise self._refusal(node, "knows constants of one number for each channel only")
        return tensor, np.broadcast_to(wide.reshape(-1), channels).copy()
