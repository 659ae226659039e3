"""Run an exported VAE anywhere: numpy, onnxruntime and pillow, no PyTorch.

The names below are loaded when they are first used, so that `vae-sample --help` does not wait for onnxruntime.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtime.bundle import Bundle
    from runtime.errors import BundleError, InputError, OutputError, VaeRuntimeError
    from runtime.reconstructor import Reconstructor
    from runtime.sampler import Sampler

__all__ = ["Bundle", "BundleError", "InputError", "OutputError", "Reconstructor", "Sampler", "VaeRuntimeError"]

_ROOMS = {
    "Bundle": "bundle",
    "BundleError": "errors",
    "InputError": "errors",
    "OutputError": "errors",
    "Reconstructor": "reconstructor",
    "Sampler": "sampler",
    "VaeRuntimeError": "errors",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'runtime' has no attribute {name!r}")
    return getattr(import_module(f"runtime.{_ROOMS[name]}"), name)
