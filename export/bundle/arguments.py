"""Arguments of `export_bundle`, checked before anything is written: whatever is wrong raises ExportError."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from export.errors import ExportError
from export.formats.to_onnx import NEWEST_OPSET, OLDEST_OPSET
from export.source.load import load_source
from export.source.source import Source
from runtime.manifest import C_FP16, C_INT8, FORMATS, ONNX, ONNX_FP16, ONNX_INT8, PTE, C
from trainer.checkpoint import Checkpoint

_MNIST_FOLDER = Path("data")


def open_source(source: object) -> Source:
    """`source` itself, or the Source of a checkpoint or of a file, which `load_source` opens with MNIST in `data/`."""
    if isinstance(source, str | Path):
        return load_source(Path(source), _MNIST_FOLDER)
    if isinstance(source, Checkpoint):
        return Source.of_checkpoint(source)
    if not isinstance(source, Source):
        raise ExportError(f"source should be a checkpoint, its path or a Source, but is a {type(source).__name__}")
    return source


def check_formats(formats: Sequence[str]) -> tuple[str, ...]:
    """The names of formats, without repetitions. formats: may be a single name."""
    chosen = tuple(dict.fromkeys([formats] if isinstance(formats, str) else formats))
    return _known("formats", chosen, (*FORMATS, C, PTE))


_BASES = {ONNX_INT8: ONNX, ONNX_FP16: ONNX, C_INT8: C, C_FP16: C}  # variant → the format that it is one of


def check_variants(variants: Sequence[str], formats: Sequence[str]) -> tuple[str, ...]:
    """The names of variants, without repetitions. variants: may be a single name; the format of each is needed."""
    chosen = tuple(dict.fromkeys([variants] if isinstance(variants, str) else variants))
    for variant in _known("variants", chosen, tuple(_BASES)):
        if _BASES[variant] not in formats:
            raise ExportError(f"{variant} is a variant of the format {_BASES[variant]}; add that format")
    return chosen


def check_opset(opset: object) -> int:
    """`opset`, if the exporter can write it."""
    if not isinstance(opset, int) or not OLDEST_OPSET <= opset <= NEWEST_OPSET:
        raise ExportError(f"opset should be from {OLDEST_OPSET} to {NEWEST_OPSET}, but is {opset!r}")
    return opset


def _known(what: str, chosen: tuple[str, ...], names: Sequence[str]) -> tuple[str, ...]:
    unknown = [name for name in chosen if name not in names]
    if unknown:
        raise ExportError(f"{what} should be among {', '.join(names)}, but {unknown[0]!r} is not")
    return chosen
