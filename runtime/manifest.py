"""`manifest.json`: the contract between export and every host, with its reader and its writer side by side.

{
  "format_version": 1,
  "pixels": 1,                         how image files become pixels (runtime/images/decode.py); absent in old bundles
  "metadata": {                        the same JSON sits inside every graph file
    "pair_id": "9f86d081884c7d65",     one model's weights; all graphs of a bundle share it
    "noise_version": 1,
    "latent_dim": 32,
    "image_shape": [1, 28, 28],        channels, height, width
    "provenance": {...}                what was trained, on what, by which versions; free form
  },
  "onnx": {"opset": 18, "ir_version": 8, "oldest_onnxruntime": "1.18"},
  "graphs": {
    "decoder": {
      "inputs": [{"name": "z", "dtype": "float32", "shape": ["N", 32], "range": null}],
      "outputs": [{"name": "image", "dtype": "float32", "shape": ["N", 1, 28, 28], "range": [0, 1]}],
      "files": {"onnx": "decoder.onnx", "torchscript": "decoder.pt"}
    }                                  formats: onnx, torchscript, pt2; and smaller ONNX files of the same graph:
  },                                   onnx-int8 (8-bit weights and activations), onnx-fp16 (16-bit weights)
  "files": {"decoder.onnx": {"bytes": 1092035, "sha256": "…"}}
}
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from runtime.errors import BundleError

MANIFEST_NAME = "manifest.json"
METADATA_KEY = "vae_toolchain"
"""Name under which the metadata JSON is kept in ONNX `metadata_props` and in TorchScript extra files."""
FORMAT_VERSION = 1
PIXELS_VERSION = 1
"""How image files become pixels: the recipe at the top of `runtime/images/decode.py`."""

_DTYPES = ("float32", "int64", "uint8")
_FORMATS = ("onnx", "onnx-int8", "onnx-fp16", "torchscript", "pt2")
_IMAGE = ("image", "float32", "NCHW")
# The graphs that this runtime computes with → their inputs and outputs: name, type, and a letter for each dimension.
_SIGNATURES = {
    "decoder": ([("z", "float32", "NL")], [_IMAGE]),
    "encoder": ([_IMAGE], [("mean", "float32", "NL"), ("log_var", "float32", "NL")]),
}
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MAX_BYTES = 2**31 - 1  # the most that a protobuf, and so an ONNX file, can hold
_T = TypeVar("_T")


@dataclass(frozen=True)
class Port:
    """An input or an output of a graph."""

    name: str
    dtype: str
    """float32, int64 or uint8."""
    shape: tuple[int | str, ...]
    """Sizes; "N" where any size will do."""
    range: tuple[float, float] | None
    """Lowest and highest value, both included; None where unbounded."""


@dataclass(frozen=True)
class Graph:
    """One exported graph, in one or more formats."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    files: dict[str, str]
    """Format (onnx, onnx-int8, onnx-fp16, torchscript, pt2) → name of the file in the bundle's folder."""


@dataclass(frozen=True)
class FileRecord:
    """What a file of the bundle must be."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class OnnxVersions:
    """What an ONNX host must understand."""

    opset: int
    ir_version: int
    oldest_onnxruntime: str | None = None
    """The oldest onnxruntime that files of this opset are tested on; None where nobody tried."""


@dataclass(frozen=True)
class Metadata:
    """What every graph file says of itself."""

    pair_id: str
    """First 16 hexadecimal digits of the sha256 of the weights: equal in all files of one model."""
    noise_version: int
    latent_dim: int
    image_shape: tuple[int, int, int]
    """Channels, height, width."""
    provenance: dict[str, Any]

    def to_json(self) -> str:
        """One line of JSON, the same for the same metadata."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False, allow_nan=False)


@dataclass(frozen=True)
class Manifest:
    """Everything that a host needs to know of a bundle before it opens a graph."""

    metadata: Metadata
    onnx: OnnxVersions | None
    """None where the bundle holds no ONNX file."""
    graphs: dict[str, Graph]
    files: dict[str, FileRecord]
    pixels: int | None = PIXELS_VERSION
    """Version of the recipe by which image files become pixels; None in bundles that name none."""

    def to_json(self) -> str:
        """The text of `manifest.json`, the same for the same manifest."""
        content = {"format_version": FORMAT_VERSION, **asdict(self)}
        if self.pixels is None:
            del content["pixels"]
        return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: bytes) -> Manifest:
        """Read `manifest.json` and prove its form. Raises BundleError, naming the place, for anything unexpected."""
        root = _parse(text)
        if root.get("format_version") != FORMAT_VERSION:
            raise BundleError(
                f"{MANIFEST_NAME}: format_version should be {FORMAT_VERSION} but is {root.get('format_version')!r}; "
                "it was written by another version of vae-toolchain: run vae-export again, or update the runtime"
            )
        onnx = root.get("onnx")
        manifest = cls(
            metadata=_read_metadata(_take(root, "metadata", dict)),
            onnx=None if onnx is None else _read_onnx(_take(root, "onnx", dict)),
            graphs={
                _plain_name(name, "graphs"): _read_graph(
                    _take(graphs, name, dict, where=f"graphs.{name}"), f"graphs.{name}"
                )
                for graphs in [_take(root, "graphs", dict)]
                for name in graphs
            },
            files={
                _plain_name(name, "files"): _read_file(_take(files, name, dict, where=f"files.{name}"), f"files.{name}")
                for files in [_take(root, "files", dict)]
                for name in files
            },
            pixels=_integer(root["pixels"], "pixels", 1, 2**31) if "pixels" in root else None,
        )
        for graph_name, graph in manifest.graphs.items():
            for file_name in graph.files.values():
                if file_name not in manifest.files:
                    raise BundleError(f"{MANIFEST_NAME}: graphs.{graph_name} names {file_name}, which files leaves out")
            _check_signature(graph_name, graph, manifest.metadata)
        return manifest


def _check_signature(name: str, graph: Graph, metadata: Metadata) -> None:
    """Decoder and encoder take and give what the contract says, at the sizes that the metadata names."""
    if name not in _SIGNATURES:
        return
    channels, height, width = metadata.image_shape
    sizes: dict[str, int | str] = {"N": "N", "L": metadata.latent_dim, "C": channels, "H": height, "W": width}
    for side, ports, signature in zip(
        ("inputs", "outputs"), (graph.inputs, graph.outputs), _SIGNATURES[name], strict=True
    ):
        expected = [(port, dtype, tuple(sizes[size] for size in shape)) for port, dtype, shape in signature]
        found = [(port.name, port.dtype, port.shape) for port in ports]
        if found != expected:
            raise BundleError(
                f"{MANIFEST_NAME}: graphs.{name}.{side} should be {_show_ports(expected)} but is {_show_ports(found)}; "
                "run vae-export again on this checkpoint"
            )


def _show_ports(ports: Iterable[tuple[str, str, tuple[int | str, ...]]]) -> str:
    return ", ".join(f"{name!r} {dtype} ({', '.join(map(str, shape))})" for name, dtype, shape in ports) or "none"


def _parse(text: bytes) -> dict[str, Any]:
    def refuse_constant(constant: str) -> None:
        raise ValueError(f"{constant} is no number of JSON")

    try:
        root = json.loads(text.decode("utf-8"), parse_constant=refuse_constant)
        # An escaped half of a surrogate pair, or 1e999, comes through the parser but can never be written again.
        json.dumps(root, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise BundleError(f"{MANIFEST_NAME}: not valid JSON in UTF-8: {error}") from error
    if not isinstance(root, dict):
        raise BundleError(f"{MANIFEST_NAME}: should hold an object but holds {_kind(root)}")
    return root


def _read_metadata(content: dict[str, Any]) -> Metadata:
    shape = _take(content, "image_shape", list, where="metadata.image_shape")
    if len(shape) != 3:
        raise BundleError(f"{MANIFEST_NAME}: metadata.image_shape should be [channels, height, width] but is {shape!r}")
    channels, height, width = (_integer(size, "metadata.image_shape", 1, 65_536) for size in shape)
    return Metadata(
        pair_id=_plain_name(content.get("pair_id"), "metadata.pair_id"),
        noise_version=_integer(content.get("noise_version"), "metadata.noise_version", 1, 2**31),
        latent_dim=_integer(content.get("latent_dim"), "metadata.latent_dim", 1, 2**20),
        image_shape=(channels, height, width),
        provenance=_take(content, "provenance", dict, where="metadata.provenance"),
    )


def _read_onnx(content: dict[str, Any]) -> OnnxVersions:
    oldest = content.get("oldest_onnxruntime")
    return OnnxVersions(
        opset=_integer(content.get("opset"), "onnx.opset", 1, 1000),
        ir_version=_integer(content.get("ir_version"), "onnx.ir_version", 1, 1000),
        oldest_onnxruntime=None
        if oldest is None
        else _take(content, "oldest_onnxruntime", str, where="onnx.oldest_onnxruntime"),
    )


def _read_graph(content: dict[str, Any], where: str) -> Graph:
    files = _take(content, "files", dict, where=f"{where}.files")
    for file_format in files:
        if file_format not in _FORMATS:
            raise BundleError(f"{MANIFEST_NAME}: {where}.files has the unknown format {file_format!r}")
    return Graph(
        inputs=_read_ports(content, "inputs", where),
        outputs=_read_ports(content, "outputs", where),
        files={file_format: _plain_name(name, f"{where}.files") for file_format, name in files.items()},
    )


def _read_ports(content: dict[str, Any], side: str, where: str) -> tuple[Port, ...]:
    ports = []
    for i, port in enumerate(_take(content, side, list, where=f"{where}.{side}")):
        place = f"{where}.{side}[{i}]"
        if not isinstance(port, dict):
            raise BundleError(f"{MANIFEST_NAME}: {place} should be an object but is {_kind(port)}")
        dtype = _take(port, "dtype", str, where=f"{place}.dtype")
        if dtype not in _DTYPES:
            raise BundleError(f"{MANIFEST_NAME}: {place}.dtype should be one of {', '.join(_DTYPES)} but is {dtype!r}")
        ports.append(
            Port(
                name=_take(port, "name", str, where=f"{place}.name"),
                dtype=dtype,
                shape=tuple(
                    size if size == "N" else _integer(size, f"{place}.shape", 1, 2**31)
                    for size in _take(port, "shape", list, where=f"{place}.shape")
                ),
                range=_read_range(port.get("range"), f"{place}.range"),
            )
        )
    return tuple(ports)


def _read_range(content: object, where: str) -> tuple[float, float] | None:
    if content is None:
        return None
    if not (isinstance(content, list) and len(content) == 2 and all(type(bound) in (int, float) for bound in content)):
        raise BundleError(f"{MANIFEST_NAME}: {where} should be [lowest, highest] or null but is {content!r}")
    return content[0], content[1]


def _read_file(content: dict[str, Any], where: str) -> FileRecord:
    sha256 = _take(content, "sha256", str, where=f"{where}.sha256")
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        raise BundleError(f"{MANIFEST_NAME}: {where}.sha256 should be 64 hexadecimal digits but is {sha256!r}")
    return FileRecord(bytes=_integer(content.get("bytes"), f"{where}.bytes", 1, _MAX_BYTES), sha256=sha256)


def _take(content: dict[str, Any], key: str, kind: type[_T], *, where: str = "") -> _T:
    value = content.get(key)
    if not isinstance(value, kind):
        found = "is missing" if key not in content else f"is {_kind(value)}"
        raise BundleError(f"{MANIFEST_NAME}: {where or key} should be {_KIND_NAMES[kind]} but {found}")
    return value


def _integer(value: object, where: str, lowest: int, highest: int) -> int:
    if type(value) is not int or not lowest <= value <= highest:
        raise BundleError(f"{MANIFEST_NAME}: {where} should be an integer from {lowest} to {highest} but is {value!r}")
    return value


def _plain_name(name: object, where: str) -> str:
    """A file of the bundle lies in its folder: no path, nothing hidden, nothing above. Nor can such a name confuse a
    terminal.
    """
    if not isinstance(name, str) or not _PLAIN_NAME.fullmatch(name):
        raise BundleError(f"{MANIFEST_NAME}: {where} should hold plain names but holds {name!r}")
    return name


_KIND_NAMES: dict[type, str] = {dict: "an object", list: "an array", str: "a string"}


def _kind(value: object) -> str:
    return _KIND_NAMES.get(type(value), repr(value))
