"""The nodes and constants of an ONNX graph, read from the protobuf without the onnx package and before any engine.

Only what `runtime.onnx_guard.limits` needs to know: operators, names, attributes that are numbers, and sizes. Whatever
no exported graph has (functions, graphs within graphs, training steps, sparse tensors, references to attributes) is
refused here. Field numbers are those of onnx.proto.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.onnx_guard.external_data import MalformedError, fields, varint

_KNOWN_ELEMENTS = 4096
"""Constants of up to this size are read: shapes, axes and sizes are short."""
_INTEGERS: dict[int, tuple[str, int]] = {6: ("<i4", 5), 7: ("<i8", 7)}
# Data types that a tensor may have → bytes of one element. There are no strings, and nothing smaller than a byte.
_ITEM_SIZES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}
_DATA_FIELDS = (4, 5, 7, 9, 10, 11)
_GRAPH_LIKE = {6: "a graph", 11: "graphs", 14: "a type", 15: "types", 22: "a sparse tensor", 23: "sparse tensors"}


class ForbiddenError(Exception):
    """The graph has something that no exported graph has; the text says what."""


@dataclass(frozen=True)
class Tensor:
    """A constant in the file."""

    name: str
    shape: tuple[int, ...]
    item_size: int
    values: npt.NDArray[Any] | None
    """Where it holds a few integers or floats."""


@dataclass(frozen=True)
class Node:
    """One operation."""

    operator: str
    inputs: tuple[str, ...]
    """"" where an optional one is left out."""
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    """Numbers, tuples of numbers, texts and tensors, by name."""


@dataclass
class Graph:
    """The one graph of a model."""

    nodes: list[Node] = field(default_factory=list)
    constants: list[Tensor] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    opset: int = 0


def read_graph(content: bytes) -> Graph:
    """The graph of an ONNX model. Raises MalformedError where it is no protobuf, and ForbiddenError (see above)."""
    graph = Graph()
    graphs = 0
    for number, value in fields(memoryview(content)):
        if number == 7:
            _read_into(graph, _message(value))
            graphs += 1
        elif number == 8:
            _read_opset(graph, _message(value))
        elif number == 20:
            raise ForbiddenError("it holds a training step")
        elif number == 25:
            raise ForbiddenError("it defines functions of its own")
    if graphs != 1:
        raise ForbiddenError(f"it holds {graphs} graphs instead of one")
    return graph


def _read_opset(graph: Graph, message: memoryview) -> None:
    domain, version = "", 0
    for number, value in fields(message):
        if number == 1:
            domain = _text(value)
        elif number == 2:
            version = _integer(value)
    if domain not in ("", "ai.onnx"):
        raise ForbiddenError(f"it uses operators of the domain {domain!r}")
    graph.opset = version


def _read_into(graph: Graph, message: memoryview) -> None:
    for number, value in fields(message):
        if number == 1:
            graph.nodes.append(_read_node(_message(value)))
        elif number == 5:
            graph.constants.append(_read_tensor(_message(value)))
        elif number in (11, 12):
            (graph.inputs if number == 11 else graph.outputs).append(_name_of(_message(value)))
        elif number == 15:
            raise ForbiddenError("it holds a sparse tensor")


def _name_of(message: memoryview) -> str:
    return next((_text(value) for number, value in fields(message) if number == 1), "")


def _read_node(message: memoryview) -> Node:
    operator, domain = "", ""
    inputs: list[str] = []
    outputs: list[str] = []
    attributes: dict[str, Any] = {}
    for number, value in fields(message):
        if number == 1:
            inputs.append(_text(value))
        elif number == 2:
            outputs.append(_text(value))
        elif number == 4:
            operator = _text(value)
        elif number == 5:
            name, content = _read_attribute(_message(value))
            attributes[name] = content
        elif number == 7:
            domain = _text(value)
    if domain not in ("", "ai.onnx"):
        raise ForbiddenError(f"it uses the operator {operator!r} of the domain {domain!r}")
    return Node(operator, tuple(inputs), tuple(outputs), attributes)


def _read_attribute(message: memoryview) -> tuple[str, Any]:
    name: str = ""
    content: Any = None
    floats: list[float] = []
    integers: list[int] = []
    kind = 0
    for number, value in fields(message):
        if number == 1:
            name = _text(value)
        elif number == 2:
            content = _float(_message(value))
        elif number == 3:
            content = _integer(value)
        elif number == 4:
            content = bytes(_message(value)).decode("utf-8", "replace")
        elif number == 5:
            content = _read_tensor(_message(value))
        elif number == 7:
            floats += _floats(_message(value))
        elif number == 8:
            integers += _integers(value)
        elif number == 20:
            kind = _integer(value)
        elif number == 21:
            raise ForbiddenError("it refers to an attribute of a function")
        elif number in _GRAPH_LIKE:
            raise ForbiddenError(f"an attribute holds {_GRAPH_LIKE[number]}")
    if kind == 6:
        return name, tuple(floats)
    if kind == 7:
        return name, tuple(integers)
    if content is None and kind in (1, 2):
        return name, 0  # protobuf leaves out what is zero
    return name, content


def _read_tensor(message: memoryview) -> Tensor:
    name = ""
    shape: list[int] = []
    kind = size = 0
    raw: memoryview | None = None
    typed: list[int | memoryview] = []
    for number, value in fields(message):
        if number == 1:
            shape += _integers(value)
        elif number == 2:
            kind = _integer(value)
        elif number == 8:
            name = _text(value)
        elif number in _DATA_FIELDS:
            size += len(value) if isinstance(value, memoryview) else 8
            if number == 9:
                raw = _message(value)
            else:
                typed.append(value)
    if kind not in _ITEM_SIZES:
        raise ForbiddenError(f"the tensor {name!r} has the data type {kind}")
    if min(shape, default=0) < 0 or math.prod(shape) > size:
        raise ForbiddenError(f"the tensor {name!r} claims the shape {_show(shape)} but holds {size:,} bytes")
    return Tensor(name, tuple(shape), _ITEM_SIZES[kind], _values(kind, shape, raw, typed))


def _values(
    kind: int, shape: list[int], raw: memoryview | None, typed: list[int | memoryview]
) -> npt.NDArray[Any] | None:
    """The numbers of a short tensor of integers or float32; None for all others."""
    count = math.prod(shape)
    if count > _KNOWN_ELEMENTS or kind not in (1, *_INTEGERS):
        return None
    if raw is not None:
        dtype = "<f4" if kind == 1 else _INTEGERS[kind][0]
        found = np.frombuffer(raw, dtype) if len(raw) % np.dtype(dtype).itemsize == 0 else np.empty(0)
    elif kind == 1:
        found = np.array([number for part in typed for number in _floats(_message(part))])
    else:
        found = np.array([number for part in typed for number in _integers(part)], np.int64)
    if len(found) != count:
        raise ForbiddenError(f"a tensor claims the shape {_show(shape)} but holds {len(found)} numbers")
    return found.reshape(shape)


def _message(value: int | memoryview) -> memoryview:
    if not isinstance(value, memoryview):
        raise MalformedError("a number stands where a message should be")
    return value


def _text(value: int | memoryview) -> str:
    return bytes(_message(value)).decode("utf-8", "backslashreplace")


def _integer(value: int | memoryview) -> int:
    """A varint, as the signed number of 64 bits that it encodes."""
    if isinstance(value, memoryview):
        raise MalformedError("a message stands where a number should be")
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value


def _integers(value: int | memoryview) -> list[int]:
    """One number, or all of a packed field."""
    if not isinstance(value, memoryview):
        return [_integer(value)]
    found, at = [], 0
    while at < len(value):
        number, at = varint(value, at)
        found.append(_integer(number))
    return found


def _float(value: memoryview) -> float:
    if len(value) != 4:
        raise MalformedError("a float should be 4 bytes")
    return float(struct.unpack("<f", value)[0])


def _floats(value: memoryview) -> Iterator[float]:
    if len(value) % 4:
        raise MalformedError("floats should be 4 bytes each")
    return iter(np.frombuffer(value, "<f4").tolist())


def _show(shape: list[int]) -> str:
    return f"({', '.join(map(str, shape[:8]))}{', …' if len(shape) > 8 else ''})"
