"""Run an exported VAE anywhere: numpy, onnxruntime and pillow, no PyTorch.

The names below are imported when they are first used (see `runtime.lazy`).
"""

from typing import TYPE_CHECKING

from runtime.lazy import lazy_attributes

if TYPE_CHECKING:
    from runtime.bundle import Bundle
    from runtime.errors import BundleError, EngineError, InputError, OutputError, VaeRuntimeError
    from runtime.reconstructor import Reconstructor
    from runtime.sampler import Sampler

__all__ = [
    "Bundle",
    "BundleError",
    "EngineError",
    "InputError",
    "OutputError",
    "Reconstructor",
    "Sampler",
    "VaeRuntimeError",
]

__getattr__ = lazy_attributes(
    __name__,
    {
        "Bundle": "bundle",
        "BundleError": "errors",
        "EngineError": "errors",
        "InputError": "errors",
        "OutputError": "errors",
        "Reconstructor": "reconstructor",
        "Sampler": "sampler",
        "VaeRuntimeError": "errors",
    },
)
