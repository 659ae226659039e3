"""A training step can be captured in a CUDA graph, as far as that can be checked without a GPU."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from trainer.data.pixels import to_float
from trainer.model.vae import VAE, ModelConfig, build_model
from trainer.objective.bound import Objective
from trainer.settings import Settings
from trainer.training.steps.autograd import AutogradStep
from trainer.training.steps.flat import clip_norm_, flatten_parameters

PLAIN = Settings("test", (13, 11), 4, batch_size=6, epochs=1, clip_norm=1.0)
KINDS = [
    replace(PLAIN, free_bits=0.5),
    replace(PLAIN, likelihood="gaussian", bound="iwae", draws=3),
    replace(PLAIN, likelihood="continuous-bernoulli", bound="dreg", draws=3),
    replace(PLAIN, network="conv", hidden=(4, 6), batch_norm=True),
]


class Elsewhere(TorchDispatchMode):
    """Records operations that synchronise with the device or copy from another: both are illegal in a capture."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[str] = []

    def __torch_dispatch__(
        self,
        operation: Callable[..., object],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        result = operation(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor)]
        if "_local_scalar_dense" in str(operation) or any(tensor.device.type != "meta" for tensor in tensors):
            self.found.append(str(operation))
        return result


@pytest.mark.parametrize("settings", KINDS)
def test_a_step_neither_synchronises_with_its_device_nor_copies_from_another(settings: Settings) -> None:
    """Everything but Adam runs on torch's meta device, where tensors have no values to wait for."""
    with torch.device("meta"):
        model = VAE(ModelConfig.of(settings, (1, 8, 8)))
        weights = flatten_parameters(model)
        pixels = torch.zeros(6, 8, 8, 1, dtype=torch.uint8)
        noise, kl_weight = torch.zeros(6, settings.draws, settings.latent_dim), torch.zeros(())
    assert weights.grad is not None
    with Elsewhere() as elsewhere:
        Objective.of(settings).terms(model, to_float(pixels), noise, kl_weight).loss.backward()
        clip_norm_(weights.grad, 1.0)
    assert elsewhere.found == []


def tensors() -> int:
    """Number of such objects in this process."""
    return sum(issubclass(type(found), torch.Tensor) for found in gc.get_objects())


@pytest.mark.parametrize("settings", KINDS)
def test_a_step_leaves_nothing_for_the_garbage_collector(settings: Settings) -> None:
    """A cycle would keep the warm-up's gradient nodes alive, which belong to another stream than the capture's.

    The collector does not see one that passes through torch's own memory, such as a hook that holds its tensor.
    """
    model = build_model(ModelConfig.of(settings, (1, 8, 8)), 0)
    weights = flatten_parameters(model)
    step = AutogradStep(model, weights, torch.optim.Adam([weights], fused=True), settings)
    pixels = torch.zeros(6, 8, 8, 1, dtype=torch.uint8)
    noise = torch.zeros(6, settings.draws, settings.latent_dim)
    step(pixels, noise, [1.0])  # torch creates some objects on the first step
    gc.collect()
    before = tensors()
    gc.disable()
    try:
        step(pixels, noise, [1.0])
        assert gc.collect() == 0
        assert tensors() == before
    finally:
        gc.enable()
