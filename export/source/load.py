"""Opens a file for export: a checkpoint of `vae-train`, or a state dict of another project's VAE."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from export.errors import ExportError
from export.source.source import Source
from export.source.state_dicts import model_of_state_dict
from runtime.files.regular import open_regular
from runtime.images.pixels import to_uint8
from runtime.noise import standard_normal
from trainer.checkpoint import checkpoint_of
from trainer.model.vae import VAE
from trainer.torch_file import read_plain

_CHECKPOINT_KEY = "format_version"  # every checkpoint of vae-train has it, and no state dict
_REFERENCE_IMAGES = 256
_MNIST_SHAPE = (1, 28, 28)
_STATE_DICT_LIKELIHOOD = "bernoulli"  # not recorded in a state dict; the known layouts are trained with it


def load_source(path: Path, data_dir: Path) -> Source:
    """Read a checkpoint of `vae-train`, or a state dict with one of the layouts that `state_dicts` knows.

    A state dict may be the whole file or its `model_state_dict`, in PyTorch's format or as safetensors. The file is
    read once, and no code in it is ever run.

    data_dir: folder that may hold MNIST. A state dict carries no images, so its model is checked on MNIST's test
    images where they are there and have its size, otherwise on its own samples; nothing is downloaded.

    Raises CheckpointError where the file is missing or damaged, and ExportError where its tensors are not those of a
    known layout, naming each tensor that differs.
    """
    content = _read(path)
    if _CHECKPOINT_KEY in content:
        return Source.of_checkpoint(checkpoint_of(content, path))
    model, layout = model_of_state_dict(content, path)
    images, images_name = _reference_images(model, data_dir)
    return Source(
        model,
        images,
        _STATE_DICT_LIKELIHOOD,
        {
            "architecture": model.architecture,
            "origin": f"a state dict with the layers {layout}, not trained by vae-toolchain",
            "data": {"name": f"not recorded; checked on {images_name}"},
        },
    )


def read_weights(path: Path) -> Mapping[str, Any]:
    """A state dict, whole or under `model_state_dict` or `state_dict` (Lightning), by tensor name; no code is run.

    Raises CheckpointError where the file is missing or damaged, and ExportError where it holds something else.
    """
    content = _read(path)
    for key in ("model_state_dict", "state_dict"):
        inner = content.get(key)
        if isinstance(inner, Mapping):
            return inner
    return content


def _read(path: Path) -> Mapping[str, Any]:
    """The content of a PyTorch or safetensors file; the first bytes tell which, not the name."""
    content = _read_safetensors(path) if _is_safetensors(path) else read_plain(path)
    if not isinstance(content, Mapping):
        raise ExportError(f"{path}: should hold a state dict but holds a {type(content).__name__}")
    return content


def _is_safetensors(path: Path) -> bool:
    """Whether the file starts with the size of a JSON header (uint64, little endian) and the header's brace."""
    try:
        with open_regular(path) as file:
            head = file.read(9)
        return head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] < path.stat().st_size
    except OSError:  # `read_plain` reports what is wrong
        return False


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError:
        raise ExportError(f"{path}: safetensors is not installed; pip install 'vae-toolchain[safetensors]'") from None
    try:
        tensors: dict[str, torch.Tensor] = load_file(path)
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ExportError(f"{path}: damaged safetensors file: {error}") from error
    return tensors


def _reference_images(model: VAE, data_dir: Path) -> tuple[npt.NDArray[np.uint8], str]:
    """Images to check a foreign model on, uint8 (N, H, W, C), and what they are."""
    if model.config.image_shape == _MNIST_SHAPE and (data_dir / "MNIST" / "raw").is_dir():
        from trainer.data.load import load

        return np.array(load("mnist", data_dir).test_images[:_REFERENCE_IMAGES]), "MNIST test images"
    z = standard_normal(0, np.arange(_REFERENCE_IMAGES), model.config.latent_dim)
    with torch.no_grad():
        return to_uint8(model.decode(torch.from_numpy(z)).numpy()), "samples of its own"
