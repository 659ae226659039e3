"""A look into an ONNX file before onnxruntime sees it: weights must lie inside, not at a path that the file names.

An ONNX tensor may say that its values are in another file, and onnxruntime would open the path that it finds there.
A bundle's graphs hold their weights themselves, so any such tensor is refused. The reader below knows just enough of
the protobuf encoding to find them: it walks the fields that can lead to a tensor and skips all others.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from runtime.errors import BundleError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_DEPTH = 64  # of graphs within graphs

# Field number → kind of message in it, for every message of onnx.proto that can hold a tensor.
_CHILDREN = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse tensor", 23: "sparse tensor"},
    "sparse tensor": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # fields of a tensor


def refuse_external_data(content: bytes, path: Path) -> None:
    """Raise BundleError where the ONNX model `content` is no protobuf or refers to data outside itself.

    path: where it came from, for the message.
    """
    try:
        external = _names_other_files(memoryview(content), "model", 0)
    except MalformedError as error:
        raise BundleError(f"{path}: is no ONNX file: {error}; copy the bundle again, or run vae-export again") from None
    if external:
        raise BundleError(f"{path}: a tensor refers to data in another file, which no bundle does; do not trust it")


class MalformedError(Exception):
    """The bytes are no protobuf."""


def _names_other_files(message: memoryview, kind: str, depth: int) -> bool:
    if depth > _MAX_DEPTH:
        raise MalformedError(f"its messages are nested more than {_MAX_DEPTH} deep")
    children = _CHILDREN[kind]
    for number, value in fields(message):
        if kind == "tensor" and (number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0)):
            return True
        if number in children:
            if not isinstance(value, memoryview):
                raise MalformedError(f"field {number} of a {kind} should be a message")
            if _names_other_files(value, children[number], depth + 1):
                return True
    return False


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Field numbers with their values: an integer, or the bytes of a string, message or packed array."""
    at = 0
    while at < len(message):
        key, at = varint(message, at)
        number, wire_type = key >> 3, key & 7
        value: int | memoryview
        if wire_type == _VARINT:
            value, at = varint(message, at)
        elif wire_type in (_BYTES, _FIXED64, _FIXED32):
            size = 8 if wire_type == _FIXED64 else 4
            if wire_type == _BYTES:
                size, at = varint(message, at)
            value, at = message[at : at + size], at + size
            if at > len(message):
                raise MalformedError("it ends in the middle of a field")
        else:
            raise MalformedError(f"it has a field of the unknown wire type {wire_type}")
        yield number, value


def varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for i in range(10):
        if at + i >= len(message):
            raise MalformedError("it ends in the middle of a number")
        byte = message[at + i]
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, at + i + 1
    raise MalformedError("a number in it is longer than 10 bytes")


def dense_weights(content: bytes) -> int | None:
    """Weights of a model that is a chain of dense layers, each used once for an image; None where it has others.

    That is what its matrices hold, and twice as many operations make an image. A tensor of more than two dimensions
    belongs to something else, such as a convolution.
    """
    count = 0
    for graph in _messages(memoryview(content), 7):
        for tensor in _messages(graph, 5):
            shape = _tensor_shape(tensor)
            if len(shape) > 2:
                return None
            if len(shape) == 2:
                count += shape[0] * shape[1]
    return count or None


def _messages(message: memoryview, number: int) -> Iterator[memoryview]:
    return (value for found, value in fields(message) if found == number and isinstance(value, memoryview))


def _tensor_shape(tensor: memoryview) -> list[int]:
    """`dims` of a tensor, field 1: one number a field, or all in one packed field."""
    shape: list[int] = []
    for number, value in fields(tensor):
        if number == 1 and isinstance(value, int):
            shape.append(value)
        elif number == 1:
            at = 0
            assert isinstance(value, memoryview)
            while at < len(value):
                size, at = varint(value, at)
                shape.append(size)
    return shape
