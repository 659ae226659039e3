"""The manifest class with its JSON reader and writer."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from runtime.errors import BundleError
from runtime.manifest.contract import (
    C_VARIANTS,
    DTYPES,
    FORMAT_VERSIONS,
    MANIFEST_NAME,
    PIXELS_VERSION,
    PRIOR_JSON_NAME,
    PRIOR_NAME,
    SIGNATURES,
    SUFFIXES,
)
from runtime.manifest.fields import integer, kind, parse, plain_name, take
from runtime.manifest.records import CSource, Executorch, FileRecord, Graph, Metadata, OnnxVersions, Port, PriorRecord

_MAX_SLOTS = 65_536
_MAX_BYTES = 2**31 - 1  # the most that a protobuf, and so an ONNX file, can hold


@dataclass(frozen=True)
class Manifest:
    """Everything that a host needs to know about a bundle before it opens a graph."""

    metadata: Metadata
    onnx: OnnxVersions | None
    """None if the bundle has no ONNX file."""
    graphs: dict[str, Graph]
    files: dict[str, FileRecord]
    pixels: int | None = PIXELS_VERSION
    """Version of the recipe by which image files become pixels; None in bundles that name none."""
    latent_shape: tuple[int, ...] | None = None
    """Shape of one latent inside the model, where it is no vector: the graphs take it flat, in row-major order."""
    largest_batch: int | None = None
    """The most rows that a call of a graph may have; None where any number will do."""
    prior: PriorRecord | None = None
    """The mixture to draw from, in format 2; None for N(0, I)."""
    c: CSource | None = None
    """None where the bundle holds no C source."""
    executorch: Executorch | None = None
    """None where the bundle holds no program of ExecuTorch."""

    def to_json(self) -> str:
        """The text of `manifest.json`, the same for the same manifest."""
        content = {"format_version": 1 if self.prior is None else 2, **asdict(self)}
        for optional in ("prior", "pixels", "c", "executorch", "latent_shape", "largest_batch"):
            if content[optional] is None:
                del content[optional]
        if self.c is not None and not self.c.variants:
            del content["c"]["variants"]
        return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: bytes) -> Manifest:
        """Read and validate `manifest.json`. Raises BundleError, naming the field, for anything unexpected."""
        root = parse(text)
        if root.get("format_version") not in FORMAT_VERSIONS or isinstance(root["format_version"], bool):
            expected = " or ".join(map(str, FORMAT_VERSIONS))
            raise BundleError(
                f"{MANIFEST_NAME}: format_version should be {expected} but is {root.get('format_version')!r}; "
                "it was written by another version of vae-toolchain: run vae-export again, or update the runtime"
            )
        onnx, c = root.get("onnx"), root.get("c")
        manifest = cls(
            metadata=_read_metadata(take(root, "metadata", dict)),
            onnx=None if onnx is None else _read_onnx(take(root, "onnx", dict)),
            graphs={
                plain_name(name, "graphs"): _read_graph(
                    take(graphs, name, dict, where=f"graphs.{name}"), f"graphs.{name}"
                )
                for graphs in [take(root, "graphs", dict)]
                for name in graphs
            },
            files={
                plain_name(name, "files"): _read_file(take(files, name, dict, where=f"files.{name}"), f"files.{name}")
                for files in [take(root, "files", dict)]
                for name in files
            },
            pixels=integer(root["pixels"], "pixels", 1, 2**31) if "pixels" in root else None,
            latent_shape=_read_latent_shape(root) if "latent_shape" in root else None,
            largest_batch=integer(root["largest_batch"], "largest_batch", 1, 2**31)
            if "largest_batch" in root
            else None,
            prior=None if root["format_version"] == 1 else _read_prior(take(root, "prior", dict)),
            c=None if c is None else _read_c(take(root, "c", dict)),
            executorch=_read_executorch(take(root, "executorch", dict)) if "executorch" in root else None,
        )
        for graph_name, file_name in manifest.executorch.files.items() if manifest.executorch else ():
            if file_name not in manifest.files:
                raise BundleError(f"{MANIFEST_NAME}: executorch names {file_name}, which files leaves out")
            if graph_name not in manifest.graphs:
                raise BundleError(f"{MANIFEST_NAME}: executorch names {graph_name}, which graphs leaves out")
        for file_name in (manifest.c.header, manifest.c.source, *manifest.c.variants.values()) if manifest.c else ():
            if file_name not in manifest.files:
                raise BundleError(f"{MANIFEST_NAME}: c names {file_name}, which files leaves out")
        if manifest.prior is not None:
            for name in (PRIOR_NAME, PRIOR_JSON_NAME):
                if name not in manifest.files:
                    raise BundleError(f"{MANIFEST_NAME}: has a prior but files leaves out {name}")
        for graph_name, graph in manifest.graphs.items():
            for file_name in graph.files.values():
                if file_name not in manifest.files:
                    raise BundleError(f"{MANIFEST_NAME}: graphs.{graph_name} names {file_name}, which files leaves out")
            _check_signature(graph_name, graph, manifest.metadata)
        return manifest


def _check_signature(name: str, graph: Graph, metadata: Metadata) -> None:
    """Check the inputs and outputs of decoder and encoder, the graphs that this runtime uses, against the contract."""
    if name not in ("decoder", "encoder"):
        return
    channels, height, width = metadata.image_shape
    sizes: dict[str, int | str] = {"N": "N", "L": metadata.latent_dim, "C": channels, "H": height, "W": width}
    for side, ports, signature in zip(
        ("inputs", "outputs"), (graph.inputs, graph.outputs), SIGNATURES[name], strict=True
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


def _read_metadata(content: dict[str, Any]) -> Metadata:
    shape = take(content, "image_shape", list, where="metadata.image_shape")
    if len(shape) != 3:
        raise BundleError(f"{MANIFEST_NAME}: metadata.image_shape should be [channels, height, width] but is {shape!r}")
    channels, height, width = (integer(size, "metadata.image_shape", 1, 65_536) for size in shape)
    return Metadata(
        pair_id=plain_name(content.get("pair_id"), "metadata.pair_id"),
        noise_version=integer(content.get("noise_version"), "metadata.noise_version", 1, 2**31),
        latent_dim=integer(content.get("latent_dim"), "metadata.latent_dim", 1, 2**20),
        image_shape=(channels, height, width),
        provenance=take(content, "provenance", dict, where="metadata.provenance"),
    )


def _read_latent_shape(root: dict[str, Any]) -> tuple[int, ...]:
    shape = tuple(integer(size, "latent_shape", 1, 2**20) for size in take(root, "latent_shape", list))
    latent_dim = take(root, "metadata", dict).get("latent_dim")
    if math.prod(shape) != latent_dim:
        raise BundleError(
            f"{MANIFEST_NAME}: latent_shape is {list(shape)}, which is not the {latent_dim} numbers of latent_dim"
        )
    return shape


def _read_prior(content: dict[str, Any]) -> PriorRecord:
    if content.get("kind") != "mixture":
        raise BundleError(f"{MANIFEST_NAME}: prior.kind should be 'mixture' but is {content.get('kind')!r}")
    slots = integer(content.get("slots"), "prior.slots", 2, _MAX_SLOTS)
    if slots & (slots - 1):
        raise BundleError(f"{MANIFEST_NAME}: prior.slots should be a power of two but is {slots}")
    components = integer(content.get("components"), "prior.components", 1, slots)
    classes = take(content, "classes", list, where="prior.classes")
    if not all(isinstance(name, str) for name in classes) or len(set(classes)) < len(classes):
        raise BundleError(f"{MANIFEST_NAME}: prior.classes should be different strings but is {classes!r}")
    if len(classes) > components:
        raise BundleError(f"{MANIFEST_NAME}: prior.classes names {len(classes)} for {components} components")
    version = integer(content.get("version"), "prior.version", 1, 2**31)
    return PriorRecord(version, "mixture", components, slots, tuple(classes))


def _read_onnx(content: dict[str, Any]) -> OnnxVersions:
    oldest = content.get("oldest_onnxruntime")
    return OnnxVersions(
        opset=integer(content.get("opset"), "onnx.opset", 1, 1000),
        ir_version=integer(content.get("ir_version"), "onnx.ir_version", 1, 1000),
        oldest_onnxruntime=None
        if oldest is None
        else take(content, "oldest_onnxruntime", str, where="onnx.oldest_onnxruntime"),
    )


def _read_c(content: dict[str, Any]) -> CSource:
    variants = take(content, "variants", dict, where="c.variants") if "variants" in content else {}
    for variant in variants:
        if variant not in C_VARIANTS:
            raise BundleError(f"{MANIFEST_NAME}: c.variants has the unknown format {variant!r}")
    return CSource(
        plain_name(content.get("header"), "c.header"),
        plain_name(content.get("source"), "c.source"),
        {variant: plain_name(name, "c.variants") for variant, name in variants.items()},
    )


def _read_executorch(content: dict[str, Any]) -> Executorch:
    files = take(content, "files", dict, where="executorch.files")
    return Executorch(
        version=take(content, "version", str, where="executorch.version"),
        backend=take(content, "backend", str, where="executorch.backend"),
        largest_batch=integer(content.get("largest_batch"), "executorch.largest_batch", 1, 2**31),
        files={graph: plain_name(name, "executorch.files") for graph, name in files.items()},
    )


def _read_graph(content: dict[str, Any], where: str) -> Graph:
    files = take(content, "files", dict, where=f"{where}.files")
    for file_format in files:
        if file_format not in SUFFIXES:
            raise BundleError(f"{MANIFEST_NAME}: {where}.files has the unknown format {file_format!r}")
    return Graph(
        inputs=_read_ports(content, "inputs", where),
        outputs=_read_ports(content, "outputs", where),
        files={file_format: plain_name(name, f"{where}.files") for file_format, name in files.items()},
    )


def _read_ports(content: dict[str, Any], side: str, where: str) -> tuple[Port, ...]:
    ports = []
    for i, port in enumerate(take(content, side, list, where=f"{where}.{side}")):
        place = f"{where}.{side}[{i}]"
        if not isinstance(port, dict):
            raise BundleError(f"{MANIFEST_NAME}: {place} should be an object but is {kind(port)}")
        dtype = take(port, "dtype", str, where=f"{place}.dtype")
        if dtype not in DTYPES:
            raise BundleError(f"{MANIFEST_NAME}: {place}.dtype should be one of {', '.join(DTYPES)} but is {dtype!r}")
        ports.append(
            Port(
                name=take(port, "name", str, where=f"{place}.name"),
                dtype=dtype,
                shape=tuple(
                    size if size == "N" else integer(size, f"{place}.shape", 1, 2**31)
                    for size in take(port, "shape", list, where=f"{place}.shape")
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
    sha256 = take(content, "sha256", str, where=f"{where}.sha256")
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        raise BundleError(f"{MANIFEST_NAME}: {where}.sha256 should be 64 hexadecimal digits but is {sha256!r}")
    return FileRecord(bytes=integer(content.get("bytes"), f"{where}.bytes", 1, _MAX_BYTES), sha256=sha256)
