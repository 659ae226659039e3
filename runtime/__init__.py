"""Run an exported VAE anywhere: numpy, onnxruntime and pillow, no PyTorch."""

from runtime.bundle import Bundle
from runtime.errors import BundleError, InputError, OutputError, VaeRuntimeError
from runtime.reconstructor import Reconstructor
from runtime.sampler import Sampler

__all__ = ["Bundle", "BundleError", "InputError", "OutputError", "Reconstructor", "Sampler", "VaeRuntimeError"]
