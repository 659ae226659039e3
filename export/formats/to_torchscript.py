"""Export of a graph to TorchScript, for hosts on libtorch.

TorchScript is deprecated in favour of `torch.export`, but it is the format that libtorch loads. Its deprecation
warnings are silenced.
"""

import contextlib
import io
import warnings
from collections.abc import Iterator

import torch

from export.formats.archive import normalise_torch_archive
from export.graphs import GraphSpec
from runtime.manifest import METADATA_KEY, Metadata


def to_torchscript(spec: GraphSpec, metadata: Metadata) -> bytes:
    """The content of a TorchScript file, scripted and frozen: weights are constants, evaluation mode is fixed."""
    buffer = io.BytesIO()
    with _without_deprecation():
        module = torch.jit.freeze(torch.jit.script(spec.module), preserved_attrs=list(spec.methods))
        torch.jit.save(module, buffer, _extra_files={METADATA_KEY: metadata.to_json()})
    return normalise_torch_archive(buffer.getvalue())


def load_torchscript(content: bytes) -> torch.jit.ScriptModule:
    """The module of a file written by `to_torchscript`."""
    with _without_deprecation():
        return torch.jit.load(io.BytesIO(content))  # type: ignore[no-any-return]


@contextlib.contextmanager
def _without_deprecation() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".torch\.jit\.\w+. is deprecated")
        yield
