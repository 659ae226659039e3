"""The parts of a manifest: ports, graphs, files, versions, and the metadata that every graph file carries."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Port:
    """An input or output of a graph."""

    name: str
    dtype: str
    """float32, int64 or uint8."""
    shape: tuple[int | str, ...]
    """Sizes of the dimensions; "N" for a dynamic size."""
    range: tuple[float, float] | None
    """Lowest and highest value, both included; None if unbounded."""


@dataclass(frozen=True)
class Graph:
    """One exported graph, in one or more formats."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    files: dict[str, str]
    """Format (onnx, onnx-int8, onnx-fp16, torchscript, pt2) → name of the file in the bundle's folder."""


@dataclass(frozen=True)
class CSource:
    """The generator as C source: names of the files in the bundle's folder."""

    header: str
    source: str
    variants: dict[str, str] = field(default_factory=dict)
    """c-int8, c-fp16 → a source with smaller weights, for the same header."""


@dataclass(frozen=True)
class Executorch:
    """The graphs as programs of ExecuTorch."""

    version: str
    """Of the ExecuTorch that made them; programs load in this and newer ones."""
    backend: str
    """What they were lowered for: XNNPACK."""
    largest_batch: int
    """The most rows in one call; a program refuses more."""
    files: dict[str, str]
    """Graph → name of its file in the bundle's folder."""


@dataclass(frozen=True)
class FileRecord:
    """Expected size and hash of a file of the bundle."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class OnnxVersions:
    """Versions that an ONNX host must support."""

    opset: int
    ir_version: int
    oldest_onnxruntime: str | None = None
    """The oldest onnxruntime that files of this opset are tested on; None if untested."""


@dataclass(frozen=True)
class PriorRecord:
    """What the arrays in `prior.npz` must be."""

    version: int
    kind: str
    """mixture."""
    components: int
    slots: int
    """Of each alias table, a power of two."""
    classes: tuple[str, ...]
    """Names of the classes; the place of a name is the number that the sampler's input `label` takes."""


@dataclass(frozen=True)
class Metadata:
    """The metadata stored in every graph file."""

    pair_id: str
    """First 16 hexadecimal digits of the sha256 of the weights and the mixture: equal in all files of one model."""
    noise_version: int
    latent_dim: int
    image_shape: tuple[int, int, int]
    """Channels, height, width."""
    provenance: dict[str, Any]

    def to_json(self) -> str:
        """One line of JSON, the same for the same metadata."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False, allow_nan=False)
