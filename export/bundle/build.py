"""`export_bundle`: export every graph of a model, check them, and publish the bundle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from export.bundle.arguments import check_formats, check_opset, check_variants, open_source
from export.bundle.card import C_NOTE, CARD_NAME, PICTURE_NAME, executorch_note, model_card
from export.bundle.certificate import certificate
from export.bundle.golden import golden_files, golden_values
from export.bundle.publish import publishing
from export.c_source.compact import STORAGES, compact
from export.c_source.network import Network
from export.c_source.write import READ_FOR_C, read_networks, write_c
from export.checks.c_engine import Generator
from export.checks.cost import BATCHES, cost_of
from export.checks.guards import check_model, check_onnx, check_traced
from export.checks.parity import LEVELS, ParityMeasurement, check_graph, within
from export.checks.pte_engine import executorch
from export.checks.reference import Reference
from export.checks.variants import Runnable, VariantReport, make_variant, measure_variant, onnx_runnable
from export.errors import ExportError
from export.formats.to_onnx import OLDEST_OPSET, onnx_bytes, onnx_versions, to_onnx
from export.formats.to_pt2 import to_pt2
from export.formats.to_pte import executorch_record, require_executorch, to_pte
from export.formats.to_torchscript import to_torchscript
from export.source.source import Source
from export.specs import GraphSpec, graphs_of
from runtime.bundle import Bundle
from runtime.images.pixels import to_float
from runtime.images.png import save_png
from runtime.images.sheet import grid
from runtime.manifest import (
    C_HEADER_NAME,
    C_SOURCE_NAME,
    C_VARIANTS,
    FORMATS,
    LEVEL_LIMIT,
    MANIFEST_NAME,
    ONNX,
    PARITY_NAME,
    PRIOR_JSON_NAME,
    PRIOR_NAME,
    PTE,
    SUFFIXES,
    C,
    CSource,
    Executorch,
    FileRecord,
    Graph,
    Manifest,
    Metadata,
    OnnxVersions,
    PriorRecord,
)
from runtime.noise import NOISE_VERSION
from runtime.prior import PRIOR_VERSION, Prior, prior_latents
from runtime.signature import load_signer, sign
from trainer.checkpoint import Checkpoint

_PICTURE_SAMPLES, _PICTURE_COLUMNS, _PICTURE_SCALE = 64, 8, 3
_GUARD_ROWS = 64  # images and latents that `check_model` sees


def export_bundle(
    source: Checkpoint | Source | str | Path,
    output: str | Path,
    *,
    formats: Sequence[str] = FORMATS,
    opset: int = OLDEST_OPSET,
    force: bool = False,
    strict_engines: bool = False,
    variants: Sequence[str] = (),
    private_key: Path | None = None,
    report: Callable[[str], None] = lambda step: None,
) -> list[ParityMeasurement]:
    """Write a bundle to `output` if every graph passes the parity check. An existing bundle there is replaced.

    source: a checkpoint, the path of one or of a state dict (`load_source`), or any VAE (`Source.of_modules`).
    formats: onnx, torchscript, pt2, c and pte, or some of them; pte needs the extra `executorch`. opset: of the ONNX
    files. force: accept a folder with other files, which are kept, and variants of low quality. strict_engines: also
    check OpenVINO and OpenCV, where they are installed. variants: onnx-int8, onnx-fp16, c-int8 or c-fp16, or some of
    them: smaller files of these formats beside the float32 ones. private_key: PEM file of a key to sign the bundle
    with, see `runtime.signature`. report: called with one line about each step.

    Returns the measurements of the parity check. Raises ParityError where a graph differs from the model, ModelError
    where the model is not fit for export, CheckpointError where a file of that path cannot be read, and ExportError
    where an argument is wrong, or `output` cannot be written or holds other files. In each case `output` is left as it
    was.
    """
    formats = check_formats(formats)
    variants = check_variants(variants, formats)
    opset = check_opset(opset)
    if PTE in formats:
        require_executorch()
    source = open_source(source)
    signer = None if private_key is None else load_signer(private_key)
    with publishing(Path(output), force=force) as folder:
        written = _BundleWriter(source, folder, formats, opset, strict_engines, variants, force, report).write()
        if signer is not None:
            sign(folder, signer)
        return written


@dataclass
class _BundleWriter:
    """The steps of one export."""

    source: Source
    folder: Path
    """An empty folder, not published yet."""
    formats: Sequence[str]
    opset: int
    strict_engines: bool
    variants: Sequence[str]
    force: bool
    report: Callable[[str], None]
    measured: dict[str, VariantReport] = field(default_factory=dict)
    """Variant → what it costs and loses."""

    def write(self) -> list[ParityMeasurement]:
        model, images = self.source.model, self.source.reference_images
        metadata = _metadata(self.source)
        cost = cost_of(model)
        rows = min(_GUARD_ROWS, cost.rows)
        check_model(
            model,
            torch.from_numpy(to_float(images[:rows])),
            torch.from_numpy(prior_latents(self.source.prior, 0, np.arange(rows), metadata.latent_dim)),
        )
        specs = graphs_of(model, self.source.prior)
        graphs = {spec.name: Graph(spec.inputs, spec.outputs, self._export(spec, metadata)) for spec in specs}
        notes = [self._make_variant(variant, metadata, graphs) for variant in self.variants if variant in SUFFIXES]
        generator = self._write_c_source(specs, metadata) if C in self.formats else None
        if generator:
            notes.append(C_NOTE)
            notes += [self._make_c_variant(variant, generator, specs, metadata) for variant in self._c_variants]
        programs = self._write_programs(specs) if PTE in self.formats else None
        if programs:
            notes.append(executorch_note(programs))
        reference = Reference(model, self.source.prior)
        if max(cost.batches) < max(BATCHES):
            self.report(f"a large model: parity at batches of {', '.join(map(str, cost.batches))}")
        if not cost.interpreted_batches:
            self.report("a large model: without the ONNX reference evaluator")
        self._write_prior()
        self._write_golden(reference, metadata)
        measurements = self._check(specs, reference, metadata, graphs, generator, programs)
        notes += _wider_promises(measurements)
        checked_by = generator.checked_by if generator else None
        content = certificate(measurements, cost, self.source.largest_batch, checked_by, self.measured)
        self._write_file(PARITY_NAME, (json.dumps(content, indent=2, sort_keys=True) + "\n").encode())
        card = model_card(
            metadata,
            graphs,
            self._onnx,
            measurements,
            notes,
            self.source.prior,
            batches=within(cost.batches, self.source.largest_batch),
            largest_batch=self.source.largest_batch,
        )
        self._write_file(CARD_NAME, card.encode())
        self._write_manifest(metadata, graphs, programs)
        return measurements

    def _export(self, spec: GraphSpec, metadata: Metadata) -> dict[str, str]:
        """Write one graph in every format. Returns format → file name."""
        files = {}
        for file_format in (name for name in self.formats if name not in (C, PTE)):
            name = f"{spec.name}{SUFFIXES[file_format]}"
            self.report(name)
            with _named(f"{spec.name} as {file_format}"):
                self._write_file(name, self._exported(spec, file_format, metadata))
            files[file_format] = name
        return files

    def _exported(self, spec: GraphSpec, file_format: str, metadata: Metadata) -> bytes:
        """The content of one file, after the checks that its format allows."""
        if file_format == "torchscript":
            return to_torchscript(spec, metadata)
        check_traced(spec)
        if file_format == "pt2":
            return to_pt2(spec, metadata)
        model = to_onnx(spec, metadata, opset=self.opset)
        check_onnx(spec, model)
        return onnx_bytes(model)

    def _write_c_source(self, specs: Sequence[GraphSpec], metadata: Metadata) -> Generator:
        """Write both files of the C source, and compile them where there is a compiler."""
        self.report("C source")
        with _named("the generator as C source"):
            graphs = {spec.name: self._onnx_bytes(spec, metadata) for spec in specs if spec.name in READ_FOR_C}
            generator = self._generator(
                read_networks(graphs["decoder"], graphs.get("encoder")), metadata, C_SOURCE_NAME
            )
        self.report(f"C source checked by {generator.checked_by}")
        return generator

    def _generator(self, networks: tuple[Network, Network | None], metadata: Metadata, name: str) -> Generator:
        """Write the header and a source of that name."""
        sources = write_c(networks, metadata, self.source.prior)
        self._write_file(C_HEADER_NAME, sources.header.encode())
        self._write_file(name, sources.source.encode())
        return Generator.of_sources(sources, networks, self.source.prior, name)

    def _make_c_variant(self, variant: str, full: Generator, specs: Sequence[GraphSpec], metadata: Metadata) -> str:
        """Write the C source with smaller weights. Returns a paragraph for the model card."""
        name = C_VARIANTS[variant]
        self.report(f"C source as {variant}")
        decoder, encoder = full.networks
        storage = STORAGES[variant]
        networks = compact(decoder, storage), None if encoder is None else compact(encoder, storage)
        small = self._generator(networks, metadata, name)
        # Without a compiler both are computed step by step in NumPy, which is slow.
        most = None if full.library else _GUARD_ROWS
        result = self._measured(variant, full.runnable(specs), small.runnable(specs), metadata, most)
        return f"`{name}` is `generator.c` with smaller weights, for the same header: {result.quality()}."

    def _write_programs(self, specs: tuple[GraphSpec, ...]) -> Executorch:
        """Write every graph as a program of ExecuTorch."""
        record = executorch_record(specs)
        for spec in specs:
            self.report(record.files[spec.name])
            with _named(f"{spec.name} as pte"):
                check_traced(spec)
                self._write_file(record.files[spec.name], to_pte(spec))
        return record

    def _onnx_bytes(self, spec: GraphSpec, metadata: Metadata) -> bytes:
        """A graph in ONNX: the bundle's file where it has one."""
        if ONNX in self.formats:
            return (self.folder / f"{spec.name}{SUFFIXES[ONNX]}").read_bytes()
        return onnx_bytes(to_onnx(spec, metadata))

    def _make_variant(self, variant: str, metadata: Metadata, graphs: dict[str, Graph]) -> str:
        """Write a smaller file of every graph and list it in `graphs`. Returns a paragraph for the model card."""
        self.report(f"the graphs as {variant}")
        images, latent_dim = self.source.reference_images, metadata.latent_dim
        files = {name: (self.folder / graph.files["onnx"]).read_bytes() for name, graph in graphs.items()}
        small = make_variant(variant, files, images, latent_dim, self.source.prior, rows=self._rows_of_variants)
        result = self._measured(variant, onnx_runnable(files), onnx_runnable(small), metadata)
        for name, content in small.items():
            graphs[name].files[variant] = f"{name}{SUFFIXES[variant]}"
            self._write_file(graphs[name].files[variant], content)
        return f"`*{SUFFIXES[variant]}`: {result.quality()}. Latents are bit-identical to float32."

    def _measured(
        self, variant: str, full: Runnable, small: Runnable, metadata: Metadata, most: int | None = None
    ) -> VariantReport:
        """Compare a variant with float32, and report it. most: images, where there is a reason for few."""
        rows = self._rows_of_variants if most is None else min(most, self._rows_of_variants)
        images = self.source.reference_images[:most]
        result = measure_variant(
            variant,
            full,
            small,
            images,
            metadata.latent_dim,
            self.source.prior,
            likelihood=self.source.likelihood,
            log_variance=self.source.log_variance,
            force=self.force,
            rows=rows,
        )
        self.measured[variant] = result
        self.report(f"{variant}: {result.quality()}")
        self.report(f"{variant}: {result.speed()}")
        return result

    @property
    def _rows_of_variants(self) -> int:
        rows = cost_of(self.source.model).rows_of_variants
        return min(rows, self.source.largest_batch or rows)

    @property
    def _c_variants(self) -> list[str]:
        return [variant for variant in self.variants if variant in C_VARIANTS]

    def _write_prior(self) -> None:
        """The arrays of the mixture, for hosts that draw latents themselves."""
        if self.source.prior is not None:
            self._write_file(PRIOR_NAME, self.source.prior.to_npz())
            self._write_file(PRIOR_JSON_NAME, self.source.prior.to_json())

    def _write_golden(self, reference: Reference, metadata: Metadata) -> None:
        self.report("golden values and a picture")
        golden = golden_values(reference, self.source.reference_images)
        for name, content in golden_files(golden).items():
            self._write_file(name, content)
        (pixels,) = reference.sampler(np.array(0), np.arange(_PICTURE_SAMPLES), np.array(1, np.float32))
        picture = grid(pixels.astype(np.uint8), _PICTURE_COLUMNS, scale=_PICTURE_SCALE)
        save_png(self.folder / PICTURE_NAME, picture)

    def _check(
        self,
        specs: Sequence[GraphSpec],
        reference: Reference,
        metadata: Metadata,
        graphs: dict[str, Graph],
        generator: Generator | None,
        programs: Executorch | None,
    ) -> list[ParityMeasurement]:
        # The check opens the bundle as a user does, so it needs a manifest, here without the files still to come.
        self._write_manifest(metadata, graphs, programs)
        bundle = Bundle.open(self.folder)
        if self.strict_engines:
            self.report(
                "OpenVINO and OpenCV, where installed, run every graph but the sampler: they lack 64-bit integers"
            )
        measurements = []
        for spec in specs:
            self.report(f"parity of {spec.name}")
            more = [generator.engine(spec)] if generator else []
            if programs:
                more.append(executorch(spec, bundle.read(programs.files[spec.name])))
            measurements += check_graph(
                spec, reference, bundle, self.source.reference_images, strict=self.strict_engines, more=more
            )
        return measurements

    @property
    def _onnx(self) -> OnnxVersions | None:
        return onnx_versions(self.opset) if "onnx" in self.formats else None

    def _write_file(self, name: str, content: bytes) -> None:
        (self.folder / name).write_bytes(content)

    def _write_manifest(self, metadata: Metadata, graphs: dict[str, Graph], programs: Executorch | None) -> None:
        prior = self.source.prior
        record = None
        if prior is not None:
            record = PriorRecord(PRIOR_VERSION, "mixture", prior.components, prior.slots, prior.classes)
        c_variants = {variant: C_VARIANTS[variant] for variant in self._c_variants}
        c = CSource(C_HEADER_NAME, C_SOURCE_NAME, c_variants) if C in self.formats else None
        manifest = Manifest(
            metadata,
            self._onnx,
            graphs,
            _records(self.folder),
            prior=record,
            c=c,
            executorch=programs,
            latent_shape=self.source.latent_shape,
            largest_batch=self.source.largest_batch,
        )
        self._write_file(MANIFEST_NAME, manifest.to_json().encode())


def _wider_promises(measurements: Sequence[ParityMeasurement]) -> list[str]:
    """A sentence for the model card for each kind of input whose reconstructions may differ by over a grey level."""
    wider = {
        entry.inputs: entry.limit for entry in measurements if entry.measure == LEVELS and entry.limit > LEVEL_LIMIT
    }
    return [
        f"Reconstructions of {inputs} are the same to {limit:.0f} grey levels only: float32 does no better here."
        for inputs, limit in wider.items()
    ]


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Raise ExportError, naming the graph, for whatever torch or onnx raise: dozens of unrelated exception classes."""
    try:
        yield
    except (ExportError, OSError):
        raise
    except Exception as error:
        raise ExportError(f"cannot export {what}: {' '.join(str(error).split())[:300]}") from error


def _metadata(source: Source) -> Metadata:
    versions = {"torch": str(torch.__version__), "onnx": onnx.__version__}
    return Metadata(
        pair_id=_pair_id(source.model, source.prior),
        noise_version=NOISE_VERSION,
        latent_dim=source.model.config.latent_dim,
        image_shape=source.model.config.image_shape,
        provenance={**source.provenance, "exported_with": versions},
    )


def _pair_id(model: nn.Module, prior: Prior | None) -> str:
    """First 16 hexadecimal digits of the sha256 of the weights and the mixture, see `Metadata.pair_id`."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.contiguous().numpy().data)
    if prior is not None:
        digest.update(prior.to_npz())
    return digest.hexdigest()[:16]


def _records(folder: Path) -> dict[str, FileRecord]:
    """Name → size and sha256 of every file in `folder` but the manifest."""
    return {
        path.name: FileRecord(len(content), hashlib.sha256(content).hexdigest())
        for path in sorted(folder.iterdir())
        if path.name != MANIFEST_NAME
        for content in [path.read_bytes()]
    }
