"""Export of a graph to TorchScript, for hosts on libtorch.

TorchScript is deprecated in favour of `torch.export`, but it is the format that libtorch loads. Its deprecation
warnings are silenced.
"""

import contextlib
import io
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from export.formats.archive import normalise_torch_archive
from export.halves import ForeignDecoder, ForeignEncoder
from export.specs import GraphSpec
from runtime.manifest import METADATA_KEY, Metadata


def to_torchscript(spec: GraphSpec, metadata: Metadata) -> bytes:
    """The content of a TorchScript file, scripted and frozen: weights are constants, evaluation mode is fixed.

    A module of others that cannot be scripted is traced; the parity check decides whether the trace is right.
    """
    buffer = io.BytesIO()
    with _without_deprecation():
        try:
            scripted: torch.jit.ScriptModule = torch.jit.script(spec.module)
        except Exception:  # the compiler raises unrelated classes for what it does not know
            scripted = _scripted_around_traces(spec)
        module = torch.jit.freeze(scripted, preserved_attrs=list(spec.methods))
        torch.jit.save(module, buffer, _extra_files={METADATA_KEY: metadata.to_json()})
    return normalise_torch_archive(buffer.getvalue())


@torch.no_grad()
def _scripted_around_traces(spec: GraphSpec) -> torch.jit.ScriptModule:
    """The module scripted, but for the halves of others in it, which are traced on what they get for the examples."""
    halves = [half for half in spec.module.modules() if isinstance(half, ForeignDecoder | ForeignEncoder)]
    given: dict[nn.Module, tuple[Tensor, ...]] = {}
    hooks = [
        half.module.register_forward_pre_hook(lambda module, inputs: given.update({module: inputs})) for half in halves
    ]
    try:
        spec.module(*spec.example_inputs())
    finally:
        for hook in hooks:
            hook.remove()
    theirs = [half.module for half in halves]
    try:
        with warnings.catch_warnings():
            # Of Python values; the parity check runs other ones.
            warnings.simplefilter("ignore", torch.jit._trace.TracerWarning)
            for half, module in zip(halves, theirs, strict=True):
                half.module = torch.jit.trace(module, given[module], check_trace=False)
        return torch.jit.script(spec.module)
    finally:
        for half, module in zip(halves, theirs, strict=True):
            half.module = module


def load_torchscript(content: bytes) -> torch.jit.ScriptModule:
    """The module of a file written by `to_torchscript`."""
    with _without_deprecation():
        return torch.jit.load(io.BytesIO(content))  # type: ignore[no-any-return]


@contextlib.contextmanager
def _without_deprecation() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".torch\.jit\.\w+. is deprecated")
        yield
