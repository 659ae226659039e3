"""Which extra of the distribution brings a package that is missing."""

from runtime.lazy import DISTRIBUTION

_EXTRAS = {
    "torch": "train",
    "torchvision": "train",
    "matplotlib": "train",
    "onnx": "export",
    "onnxscript": "export",
    "threadpoolctl": "export",
    "safetensors": "safetensors",
    "tensorboard": "tensorboard",
    "ray": "ray",
    "pyarrow": "ray",
    "openvino": "strict-engines",
    "cv2": "strict-engines",
    "executorch": "executorch",
    "model_signing": "sign",
}
_REQUIRED = ("click", "numpy", "onnxruntime", "PIL", "tqdm")


def how_to_install(module: str) -> str | None:
    """The command that installs the package of `module`, a dotted name; None for a package that is not ours to name."""
    package = module.partition(".")[0]
    if package in _REQUIRED:
        return f"pip install {DISTRIBUTION}"
    return f"pip install '{DISTRIBUTION}[{_EXTRAS[package]}]'" if package in _EXTRAS else None
