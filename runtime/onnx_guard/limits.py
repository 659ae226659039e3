"""What an ONNX graph of a bundle may be, decided before an engine sees it: its operators, and what it will cost.

An engine runs whatever it is given. A kilobyte of graph can loop for ever or fill the memory, before an answer comes
and with no signal heard meanwhile. So a graph may hold only operators that `vae-export` writes, which rules out loops
and functions; and its sizes must follow from the manifest, that is from the size of an image, and from what the file
itself holds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import BundleError
from runtime.manifest import MANIFEST_NAME, Metadata, Port
from runtime.onnx_guard.call import Shape
from runtime.onnx_guard.external_data import MalformedError
from runtime.onnx_guard.graph import ForbiddenError, Graph, read_graph
from runtime.onnx_guard.shapes import Sizes, infer_sizes

_ROWS = 65  # of the larger of two batches that are compared: every size may grow as the batch does, and no faster
_MOST_NODES = 8192
_MOST_PIXELS = 2**24  # numbers in one image
_SMALL_LATENT = 2**12  # that any image may have; more only where there are as many pixels
# For one image, in numbers: what a large network of each image size needs, several times over. An autoencoder of
# latent diffusion keeps 85 numbers for each number of an image at its widest place, and some 6,000 in all.
_WIDEST, _WIDEST_OF_PIXEL, _WIDEST_EVER = 2**16, 128, 2**27
_TOGETHER, _TOGETHER_OF_PIXEL = 2**22, 2**14
_MULTIPLICATIONS, _USES_OF_WEIGHT = 2**28, 4
# For all images, in bytes: what a graph makes of its constants, such as 32-bit weights of 8-bit ones.
_FIXED, _FIXED_OF_FILE = 2**24, 8


@dataclass(frozen=True)
class Work:
    """What a graph computes for one image."""

    multiplications: int
    """Of its matrix products and convolutions."""
    weights: int
    """Numbers among its constants."""


def check_graph(
    content: bytes, path: Path, metadata: Metadata, inputs: Sequence[Port], outputs: Sequence[Port]
) -> Work:
    """Raise BundleError where the ONNX model `content` is not one that vae-export writes for such a manifest.

    path: where it came from, for the message. inputs, outputs: what the manifest says of this graph. Returns what it
    computes.
    """
    try:
        _check_manifest(metadata)
        graph = read_graph(content)
    except MalformedError as error:
        raise BundleError(f"{path}: is no ONNX file: {error}; copy the bundle again, or run vae-export again") from None
    except ForbiddenError as error:
        raise _refusal(path, error) from None
    _check_names(path, "input", _free_inputs(graph), inputs)
    _check_names(path, "output", graph.outputs, outputs)
    try:
        one, many = (infer_sizes(graph, _shapes(inputs, rows)) for rows in (1, _ROWS))
        _check_sizes(graph, len(content), metadata, one, many)
    except ForbiddenError as error:
        raise _refusal(path, error) from None
    return Work(one.multiplications, _weights(graph))


def _weights(graph: Graph) -> int:
    return sum(math.prod(constant.shape) for constant in graph.constants)


def _refusal(path: Path, error: ForbiddenError) -> BundleError:
    return BundleError(
        f"{path}: {error}, which no graph of vae-export does; do not trust this bundle, or make it again with the "
        "version that reads it"
    )


def _check_manifest(metadata: Metadata) -> None:
    channels, height, width = metadata.image_shape
    pixels = channels * height * width
    if pixels > _MOST_PIXELS:
        raise ForbiddenError(f"its images would be {channels}×{height}×{width}, over {_MOST_PIXELS:,} numbers")
    most = max(_SMALL_LATENT, pixels)
    if metadata.latent_dim > most:
        raise ForbiddenError(f"it takes {metadata.latent_dim:,} latents for an image of {pixels:,} numbers")


def _free_inputs(graph: Graph) -> list[str]:
    constants = {constant.name for constant in graph.constants}
    return [name for name in graph.inputs if name not in constants]


def _check_names(path: Path, side: str, found: Sequence[str], expected: Sequence[Port]) -> None:
    if set(found) != {port.name for port in expected} or len(found) != len(expected):
        raise BundleError(
            f"{MANIFEST_NAME}: {path.name} should have the {side}s {', '.join(port.name for port in expected)} "
            f"but has {', '.join(found) or 'none'}; run vae-export again on this checkpoint"
        )


def _shapes(ports: Sequence[Port], rows: int) -> dict[str, Shape]:
    return {port.name: tuple(rows if size == "N" else int(size) for size in port.shape) for port in ports}


def _check_sizes(graph: Graph, size: int, metadata: Metadata, one: Sizes, many: Sizes) -> None:
    if len(graph.nodes) > _MOST_NODES:
        raise ForbiddenError(f"it has {len(graph.nodes):,} nodes")
    channels, height, width = metadata.image_shape
    numbers = max(channels * height * width, metadata.latent_dim)
    widest = min(max(_WIDEST, _WIDEST_OF_PIXEL * numbers), _WIDEST_EVER)
    fixed = together = 0
    for node, small, large in zip(graph.nodes, one.elements, many.elements, strict=True):
        if large > _ROWS * small:
            raise ForbiddenError(f"{node.operator} makes values that grow faster than the batch")
        fixed += 8 * small if large == small else 0
        together += 0 if large == small else small
    if fixed > _FIXED + _FIXED_OF_FILE * size:
        raise ForbiddenError(f"it makes {fixed:,} bytes of constants from a file of {size:,}")
    if max(one.largest, -(-many.largest // _ROWS)) > widest + fixed // 8:
        raise ForbiddenError(f"it makes a value of {one.largest:,} numbers for an image of {numbers:,}")
    if together > max(_TOGETHER, _TOGETHER_OF_PIXEL * numbers):
        raise ForbiddenError(f"it makes {together:,} numbers for an image of {numbers:,}")
    working = max(one.working, -(-many.working // _ROWS))
    if working > max(_TOGETHER, _TOGETHER_OF_PIXEL * numbers):
        raise ForbiddenError(f"one of its nodes works on {working:,} numbers for an image of {numbers:,}")
    most = max(_MULTIPLICATIONS, _USES_OF_WEIGHT * _weights(graph) * height * width)
    if max(one.multiplications, many.multiplications // _ROWS) > most:
        raise ForbiddenError(f"it takes {one.multiplications:,} multiplications for an image of {numbers:,} numbers")
