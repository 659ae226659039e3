"""Other people's checkpoints: state dicts of fully connected VAEs, known by the names and shapes of their tensors."""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from export.errors import ExportError
from export.source.source import Source
from runtime.images.pixels import to_uint8
from runtime.noise import standard_normal
from trainer.checkpoint import load_checkpoint, read_plain
from trainer.errors import SettingsError
from trainer.model.vae import VAE, ModelConfig

_WRAPPERS = re.compile(r"^(module\.|_orig_mod\.)+")  # of DataParallel and torch.compile
_OURS = "format_version"  # in every checkpoint of vae-train
_REFERENCE_IMAGES = 256
_MNIST_SHAPE = (1, 28, 28)
_LIKELIHOOD = "bernoulli"  # no state dict says; both layouts come from examples with this one


@dataclass(frozen=True)
class _Layout:
    """Names of the layers in somebody's VAE, and in ours. Each has ReLU between layers and a sigmoid at the end."""

    name: str
    layers: Mapping[str, str]
    hidden: tuple[str, ...]
    """The encoder's hidden layers, from the image on."""
    mean: str

    @property
    def keys(self) -> dict[str, str]:
        """Tensor in their state dict → tensor in ours."""
        return {
            f"{theirs}.{part}": f"{ours}.{part}" for theirs, ours in self.layers.items() for part in ("weight", "bias")
        }


_LAYOUTS = (
    _Layout(
        "fc1, fc21, fc22, fc3, fc4",
        {"fc1": "encoder.1", "fc21": "mean", "fc22": "log_var", "fc3": "decoder.0", "fc4": "decoder.2"},
        hidden=("fc1",),
        mean="fc21",
    ),
    _Layout(
        "encoder_shared.0/2, fc_mu, fc_logvar, decoder.0/2/4",
        {
            "encoder_shared.0": "encoder.1",
            "encoder_shared.2": "encoder.3",
            "fc_mu": "mean",
            "fc_logvar": "log_var",
            "decoder.0": "decoder.0",
            "decoder.2": "decoder.2",
            "decoder.4": "decoder.4",
        },
        hidden=("encoder_shared.0", "encoder_shared.2"),
        mean="fc_mu",
    ),
)


def load_source(path: Path, data_dir: Path) -> Source:
    """A checkpoint of `vae-train`, or a state dict of one of the layouts above, bare or under `model_state_dict`.

    No code in the file is ever run. data_dir: where MNIST may lie; a foreign model is checked on its test images, or on
    samples of its own where it is not there. Raises ExportError or CheckpointError, listing key by key what differs.
    """
    content = _read(path)
    if _OURS in content:
        return Source.of_checkpoint(load_checkpoint(path))
    inner = content.get("model_state_dict", content)
    if not isinstance(inner, Mapping):
        raise ExportError(f"{path}: its model_state_dict should hold tensors but is a {type(inner).__name__}")
    state = {_WRAPPERS.sub("", str(key)): value for key, value in inner.items()}
    layout = _recognise(path, state)
    model = _build(path, layout, state)
    images, images_name = _reference_images(model, data_dir)
    return Source(
        model,
        images,
        _LIKELIHOOD,
        {
            "architecture": model.architecture,
            "origin": f"a state dict with the layers {layout.name}, not trained by vae-toolchain",
            "data": {"name": f"not recorded; checked on {images_name}"},
        },
    )


def _read(path: Path) -> Mapping[str, Any]:
    """What a file holds, told apart by its first bytes: torch (zip or pickle) or safetensors."""
    content = _read_safetensors(path) if _is_safetensors(path) else read_plain(path)
    if not isinstance(content, Mapping):
        raise ExportError(f"{path}: should hold a state dict but holds a {type(content).__name__}")
    return content


def _is_safetensors(path: Path) -> bool:
    """Whether the file begins as safetensors do: the size of a JSON object, and that object."""
    try:
        with path.open("rb") as file:
            head = file.read(9)
        return head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] < path.stat().st_size
    except OSError:  # reading it as torch's will say what is wrong
        return False


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError:
        raise ExportError(f"{path}: safetensors is not installed; pip install 'vae-toolchain[safetensors]'") from None
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ExportError(f"{path}: damaged safetensors file: {error}") from error
    return tensors


def _recognise(path: Path, state: Mapping[str, Any]) -> _Layout:
    """The layout with exactly these keys; otherwise an error that lists what differs from the nearest one."""
    nearest = max(_LAYOUTS, key=lambda layout: len(layout.keys.keys() & state.keys()))
    if nearest.keys.keys() == state.keys():
        return nearest
    expected = "; or ".join(layout.name for layout in _LAYOUTS)
    differences = [
        *(f"  {key}: missing" for key in nearest.keys if key not in state),
        *(f"  {key}: not expected, {_describe(value)}" for key, value in state.items() if key not in nearest.keys),
    ]
    raise ExportError(
        f"{path}: not a checkpoint of vae-train, nor a state dict with the layers {expected}; "
        f"compared with the nearest ({nearest.name}):\n" + "\n".join(differences)
    )


def _build(path: Path, layout: _Layout, state: Mapping[str, Any]) -> VAE:
    """Our model with their weights, once every tensor has the shape that it must have beside the others."""
    for key, value in state.items():
        if not isinstance(value, Tensor) or not value.is_floating_point():
            raise ExportError(f"{path}: {key} should be a tensor of floats but is {_describe(value)}")
        if not torch.isfinite(value).all():
            raise ExportError(f"{path}: weight {key} holds NaN or infinity")
    weights = [state[f"{layer}.weight"] for layer in (*layout.hidden, layout.mean)]
    wrong = [
        f"  {layer}.weight: expected 2 dimensions, found {_describe(weight)}"
        for layer, weight in zip((*layout.hidden, layout.mean), weights, strict=True)
        if weight.ndim != 2
    ]
    if wrong:
        raise ExportError(f"{path}: its tensors do not fit together:\n" + "\n".join(wrong))
    pixels, side = weights[0].shape[1], math.isqrt(weights[0].shape[1])
    if side * side != pixels:
        raise ExportError(f"{path}: {layout.hidden[0]} takes {pixels} pixels, which are no square gray image")
    try:
        config = ModelConfig((1, side, side), tuple(len(weight) for weight in weights[:-1]), len(weights[-1]))
    except SettingsError as error:
        raise ExportError(f"{path}: its tensors do not fit together: {error}") from error
    model = VAE(config)
    ours = model.state_dict()
    wrong = [
        f"  {theirs}: expected {tuple(ours[name].shape)}, found {tuple(state[theirs].shape)}"
        for theirs, name in layout.keys.items()
        if state[theirs].shape != ours[name].shape
    ]
    if wrong:
        raise ExportError(
            f"{path}: its tensors do not fit together as {model.architecture} and back:\n" + "\n".join(wrong)
        )
    model.load_state_dict({name: state[theirs].float() for theirs, name in layout.keys.items()})
    return model.eval()


def _reference_images(model: VAE, data_dir: Path) -> tuple[npt.NDArray[np.uint8], str]:
    """MNIST's test images where they lie there and fit, otherwise the model's own samples; and what they are."""
    if model.config.image_shape == _MNIST_SHAPE and (data_dir / "MNIST" / "raw").is_dir():  # never a download
        from trainer.data.load import load

        return np.array(load("mnist", data_dir).test_images[:_REFERENCE_IMAGES]), "MNIST test images"
    z = standard_normal(0, np.arange(_REFERENCE_IMAGES), model.config.latent_dim)
    with torch.no_grad():
        return to_uint8(model.decode(torch.from_numpy(z)).numpy()), "samples of its own"


def _describe(value: object) -> str:
    return f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
