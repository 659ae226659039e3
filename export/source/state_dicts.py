"""Layouts of other projects' state dicts: fully connected VAEs, recognised by the names and shapes of their tensors."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from export.errors import ExportError
from trainer.errors import SettingsError
from trainer.model.vae import VAE, ModelConfig

_WRAPPERS = re.compile(r"^(module\.|_orig_mod\.)+")  # prefixes added by DataParallel and torch.compile


@dataclass(frozen=True)
class _Layout:
    """Layer names of another project's fully connected VAE, which has ReLU between layers and a sigmoid at the end."""

    name: str
    layers: Mapping[str, str]
    """Layer in their model → layer in `trainer.model.vae.VAE`."""
    hidden: tuple[str, ...]
    """Their names of the encoder's hidden layers, starting at the image."""
    mean: str
    """Their name of the layer that gives the posterior mean."""

    @property
    def keys(self) -> dict[str, str]:
        """Tensor name in their state dict → tensor name in ours."""
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


def model_of_state_dict(content: Mapping[str, Any], path: Path) -> tuple[VAE, str]:
    """A state dict as a model of ours in evaluation mode, on the CPU, and the name of the layout it has.

    content: name → tensor, or such a mapping under `model_state_dict`. path: the file it was read from, for messages.
    Raises ExportError for any other layout, shape or type, naming each tensor that differs.
    """
    inner = content.get("model_state_dict", content)
    if not isinstance(inner, Mapping):
        raise ExportError(f"{path}: its model_state_dict should hold tensors but is a {type(inner).__name__}")
    state = {_WRAPPERS.sub("", str(key)): value for key, value in inner.items()}
    layout = _recognise(path, state)
    return _build(path, layout, state), layout.name


def _recognise(path: Path, state: Mapping[str, Any]) -> _Layout:
    """The layout with exactly these tensor names. Raises ExportError with the differences from the nearest one."""
    nearest = max(_LAYOUTS, key=lambda layout: len(layout.keys.keys() & state.keys()))
    if nearest.keys.keys() == state.keys():
        return nearest
    known = "; or ".join(layout.name for layout in _LAYOUTS)
    differences = [
        *(f"  {key}: missing" for key in nearest.keys if key not in state),
        *(f"  {key}: not expected, {_describe(value)}" for key, value in state.items() if key not in nearest.keys),
    ]
    raise ExportError(
        f"{path}: not a checkpoint of vae-train, nor a state dict with the layers {known}; "
        f"compared with the nearest ({nearest.name}):\n" + "\n".join(differences)
    )


def _build(path: Path, layout: _Layout, state: Mapping[str, Any]) -> VAE:
    """Our model with their weights, after checking that every tensor is finite and fits the others."""
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
        raise ExportError(f"{path}: {layout.hidden[0]} takes {pixels} pixels, which is not a square gray image")
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


def _describe(value: object) -> str:
    return f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
