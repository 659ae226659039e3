"""Operators of ONNX that move numbers and compute none: reshape, split, resize, pad."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from export.c_source.network import Resize
from export.c_source.operands import Operands, stored_order


class Shapes(Operands):
    """A method for each operator, which appends its steps."""

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
            self._moved(name, source, part)

    def _unsqueeze(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        axes = [int(axis) for axis in self._constant(node, 1)]
        shape = tuple(np.expand_dims(np.empty((1, *self._tensor(node, 0).shape)), tuple(axes)).shape)
        if shape[0] != 1 or 0 in axes:
            raise self._refusal(node, "keeps the batch as the first axis")
        self._view(node, shape[1:])

    def _shape(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        """A constant, with 0 for the batch, which is what a reshape takes for "as it is"."""
        shape = np.array([0, *self._tensor(node, 0).shape])
        self._constants[node.output[0]] = shape[attributes.get("start", 0) : attributes.get("end", len(shape))]

    def _concat(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        if not all(name in self._constants for name in node.input):
            raise self._refusal(node, "joins constants only")
        parts = [self._constants[name] for name in node.input]
        self._constants[node.output[0]] = np.concatenate(parts, attributes.get("axis", 0))

    def _resize(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        source = self._tensor(node, 0)
        how = [attributes.get(key) for key in ("mode", "coordinate_transformation_mode", "nearest_mode")]
        if how != [b"nearest", b"asymmetric", b"floor"] or len(source.shape) != 3 or "axes" in attributes:
            raise self._refusal(node, "repeats the nearest pixel of images only")
        if len(node.input) > 3 and node.input[3]:
            size = self._constant(node, 3)[1:]
        else:
            size = self._constant(node, 2)[1:].astype(np.float64) * source.shape
        channels, high, wide = (int(number) for number in size)
        if channels != source.shape[0] or [channels, high, wide] != list(size):
            raise self._refusal(node, "gives a whole number of pixels of each channel only")
        shape = (channels, high, wide)
        target = self._define(node.output[0], shape, stored_order(shape))
        self.steps.append(Resize(source.name, target.name, channels, (source.shape[1], source.shape[2]), (high, wide)))

    def _pad(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        source = self._tensor(node, 0)
        mode = attributes.get("mode", b"constant").decode()
        amounts = [int(amount) for amount in self._constant(node, 1)]
        axes = len(source.shape) + 1
        if mode == "constant" or min(amounts) < 0 or len(amounts) != 2 * axes or amounts[0] or amounts[axes]:
            raise self._refusal(node, "repeats pixels beyond the edge only; zeros belong into the next convolution")
        places = np.argsort(source.order).reshape(source.shape)
        around = list(zip(amounts[1:axes], amounts[axes + 1 :], strict=True))
        self._moved(node.output[0], source, np.pad(places, around, mode))

    def _depthtospace(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        source = self._tensor(node, 0)
        block = attributes["blocksize"]
        channels, high, wide = source.shape
        places = np.argsort(source.order)
        if attributes.get("mode", b"DCR") == b"CRD":
            parts = places.reshape(channels // block**2, block, block, high, wide).transpose(0, 3, 1, 4, 2)
        else:
            parts = places.reshape(block, block, channels // block**2, high, wide).transpose(2, 3, 0, 4, 1)
        self._moved(node.output[0], source, parts.reshape(channels // block**2, high * block, wide * block))

    def _identity(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        self._tensors[node.output[0]] = self._tensor(node, 0)

    def _constant_node(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        if set(attributes) != {"value"}:
            raise self._refusal(node, "knows constants that are tensors only")
        self._constants[node.output[0]] = numpy_helper.to_array(attributes["value"])
