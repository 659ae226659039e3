"""Checkpoint → bundle: export every graph, check it, and only then publish the folder, all at once."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import onnx
import torch

from export.errors import ExportError
from export.golden import golden_files, golden_values
from export.graphs import GraphSpec, graphs_of
from export.parity import Measurement, certificate, check_parity
from export.reference import Reference
from export.to_onnx import ONNX_VERSIONS, to_onnx
from export.to_torchscript import to_torchscript
from runtime.bundle import Bundle
from runtime.manifest import MANIFEST_NAME, FileRecord, Graph, Manifest, Metadata
from runtime.noise import NOISE_VERSION
from trainer.checkpoint import Checkpoint

FORMATS = ("onnx", "torchscript")
PARITY_NAME = "parity.json"
_SUFFIXES = {"onnx": ".onnx", "torchscript": ".pt"}
_EXPORTERS: dict[str, Callable[[GraphSpec, Metadata], bytes]] = {"onnx": to_onnx, "torchscript": to_torchscript}


def export_bundle(
    checkpoint: Checkpoint,
    output: Path,
    *,
    formats: Sequence[str] = FORMATS,
    report: Callable[[str], None] = lambda step: None,
) -> list[Measurement]:
    """Write a bundle to `output`, replacing a bundle that is there, after every graph has passed the parity check.

    report: told each step in a few words. Returns what the parity check measured. Raises ParityError where a graph
    differs from the model and ExportError where `output` cannot be written or holds something else; either way
    `output` stays as it was.
    """
    _check_output(output)
    model = checkpoint.build_model()
    specs = graphs_of(model)
    metadata = _metadata(checkpoint)
    with _staging(output) as folder:
        for spec in specs:
            for file_format in formats:
                report(f"{spec.name}{_SUFFIXES[file_format]}")
                (folder / _file_name(spec, file_format)).write_bytes(_EXPORTERS[file_format](spec, metadata))
        graphs = {
            spec.name: Graph(spec.inputs, spec.outputs, {name: _file_name(spec, name) for name in formats})
            for spec in specs
        }
        onnx_versions = ONNX_VERSIONS if "onnx" in formats else None
        reference = Reference(model)
        report("golden values")
        images = checkpoint.reference_images.numpy()
        for name, content in golden_files(golden_values(reference, metadata.latent_dim, images)).items():
            (folder / name).write_bytes(content)
        report("parity check")
        # The check reads the bundle the way its users will, so it needs a manifest of what there is so far.
        _write_manifest(folder, Manifest(metadata, onnx_versions, graphs, _records(folder)))
        measurements = check_parity(specs, reference, Bundle.open(folder), images)
        (folder / PARITY_NAME).write_text(json.dumps(certificate(measurements), indent=2, sort_keys=True) + "\n")
        (folder / MANIFEST_NAME).unlink()
        _write_manifest(folder, Manifest(metadata, onnx_versions, graphs, _records(folder)))
    return measurements


def _metadata(checkpoint: Checkpoint) -> Metadata:
    best = checkpoint.history[-1]
    return Metadata(
        pair_id=_pair_id(checkpoint),
        noise_version=NOISE_VERSION,
        latent_dim=checkpoint.model_config.latent_dim,
        image_shape=checkpoint.model_config.image_shape,
        provenance={
            "architecture": checkpoint.build_model().architecture,
            "data": {"name": checkpoint.data.name, "sha256": checkpoint.data.sha256},
            "training": {
                "preset": checkpoint.settings.preset,
                "epoch": checkpoint.epoch,
                "seed": checkpoint.settings.seed,
                "beta": checkpoint.settings.beta,
                "test_loss_nats": round(best.test_loss, 4),
            },
            "trained_with": checkpoint.versions,
            "exported_with": {"torch": str(torch.__version__), "onnx": onnx.__version__},
        },
    )


def _pair_id(checkpoint: Checkpoint) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(checkpoint.model_state.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()[:16]


def _file_name(spec: GraphSpec, file_format: str) -> str:
    return f"{spec.name}{_SUFFIXES[file_format]}"


def _records(folder: Path) -> dict[str, FileRecord]:
    return {
        path.name: FileRecord(len(content), hashlib.sha256(content).hexdigest())
        for path in sorted(folder.iterdir())
        if path.name != MANIFEST_NAME
        for content in [path.read_bytes()]
    }


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    (folder / MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8")


def _check_output(output: Path) -> None:
    if output.is_dir() and any(output.iterdir()) and not (output / MANIFEST_NAME).is_file():
        raise ExportError(f"{output}: holds something that is no bundle; choose another --output")
    if output.exists() and not output.is_dir():
        raise ExportError(f"{output}: is a file; choose another --output")


@contextmanager
def _staging(output: Path) -> Iterator[Path]:
    """A hidden folder beside `output` that takes its place when the block ends well, and is removed when not."""
    token = secrets.token_hex(4)
    folder, old = (output.with_name(f".{output.name}.{kind}-{token}") for kind in ("new", "old"))
    try:
        folder.mkdir(parents=True)
        yield folder
        if output.exists():
            output.rename(old)
        folder.rename(output)
    except OSError as error:
        if old.exists() and not output.exists():
            old.rename(output)
        raise ExportError(f"cannot write {output}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
