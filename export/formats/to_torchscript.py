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
    """The content of a TorchScript file, scripted and frozen: weights are constants, evaluation mode is fixed.

    A module that cannot be scripted, which only modules of others cannot, is traced; the parity check decides whether
    the trace is right.
    """
    buffer = io.BytesIO()
    with _without_deprecation():
        try:
            scripted: torch.jit.ScriptModule = torch.jit.script(spec.module)
        except Exception:  # the compiler raises unrelated classes for what it does not know
            scripted = _traced(spec)
        module = torch.jit.freeze(scripted, preserved_attrs=list(spec.methods))
        torch.jit.save(module, buffer, _extra_files={METADATA_KEY: metadata.to_json()})
    return normalise_torch_archive(buffer.getvalue())


def _traced(spec: GraphSpec) -> torch.jit.ScriptModule:
    """The module as traced on its example inputs, with its further methods, which take the first two of them."""
    examples = spec.example_inputs()
    inputs = {"forward": examples, **dict.fromkeys(spec.methods, examples[:2])}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter(
            "ignore", torch.jit._trace.TracerWarning
        )  # of Python values; the parity check runs other ones
        return torch.jit.trace_module(spec.module, inputs, check_trace=False)  # type: ignore[no-any-return]


def load_torchscript(content: bytes) -> torch.jit.ScriptModule:
    """The module of a file written by `to_torchscript`."""
    with _without_deprecation():
        return torch.jit.load(io.BytesIO(content))  # type: ignore[no-any-return]


@contextlib.contextmanager
def _without_deprecation() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".torch\.jit\.\w+. is deprecated")
        yield
