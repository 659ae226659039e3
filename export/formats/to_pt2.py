"""Export of a graph to `.pt2`, the file format of `torch.export`."""

import io
import warnings
from typing import Any

import torch

from export.formats.archive import normalise_torch_archive
from export.specs import GraphSpec
from runtime.manifest import METADATA_KEY, Metadata


def to_pt2(spec: GraphSpec, metadata: Metadata) -> bytes:
    """The content of a `.pt2` file for `torch.export.load`: dynamic batch, the metadata as an extra file."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module=r"torch\.export\.pt2_archive")
        torch.export.save(spec.program, buffer, extra_files={METADATA_KEY: metadata.to_json()})
    return normalise_torch_archive(buffer.getvalue())


def load_pt2(content: bytes) -> torch.fx.GraphModule:
    """The module of a file written by `to_pt2`."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module=r"torch\.export\.pt2_archive")
        module: Any = torch.export.load(io.BytesIO(content)).module()
    return module  # type: ignore[no-any-return]
