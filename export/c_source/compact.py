"""Weights of a network in 8 or 16 bits, as numbers that the C source widens to float32 without an error of its own."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from export.c_source.network import Convolution, Linear, Network, Scale, Step, Storage
from export.errors import ExportError
from runtime.manifest import C_FP16, C_INT8

STORAGES: dict[str, Storage] = {C_INT8: "int8", C_FP16: "fp16"}
"""Variant of the format c → how it stores weights."""

_LARGEST_INT8 = 127
_SMALLEST_NORMAL_HALF, _LARGEST_HALF = 2.0**-14, 65504.0


def compact(network: Network, storage: Storage) -> Network:
    """The network whose C source holds its weights in `storage`; biases stay float32. Arithmetic is in float32.

    int8: each output of a layer has whole weights up to 127 and a scale, which is applied to the sum together with the
    bias. fp16: weights are rounded to float16, to its normal numbers and zero. Raises ExportError for a weight that
    float16 cannot hold.
    """
    steps: list[Step] = []
    sizes = dict(network.sizes)
    for step in network.steps:
        if not isinstance(step, Linear | Convolution):
            steps.append(step)
        elif storage == "fp16":
            steps.append(dataclasses.replace(step, weight=_halves(step.weight, network.name)))
        else:
            whole, scale = _whole_numbers(step.weight)
            total = f"{step.target}_sum"
            sizes[total] = sizes[step.target]
            steps.append(dataclasses.replace(step, target=total, weight=whole, bias=np.zeros_like(step.bias)))
            steps.append(Scale(total, step.target, scale, step.bias))
    return dataclasses.replace(network, steps=tuple(steps), sizes=sizes, storage=storage)


def _whole_numbers(weight: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """weight (…, outputs) ≈ whole · scale, whole from -127 to 127, scale (outputs,) as float32 holds it."""
    largest = np.abs(weight).reshape(-1, weight.shape[-1]).max(axis=0)
    scale = (largest / _LARGEST_INT8).astype(np.float32).astype(np.float64)
    scale[scale == 0] = 1
    return np.clip(np.rint(weight / scale), -_LARGEST_INT8, _LARGEST_INT8), scale


def _halves(weight: npt.NDArray[np.float64], name: str) -> npt.NDArray[np.float64]:
    """weight rounded to float16; below its normal numbers to the nearest of 0 and the smallest of them."""
    largest = float(np.abs(weight).max())
    if largest > _LARGEST_HALF:
        raise ExportError(
            f"{name}: a weight of {largest:.6g} is above {_LARGEST_HALF:.0f}, the largest float16; "
            "leave out --fp16-weights, or take --int8; nothing was published"
        )
    rounded = weight.astype(np.float16).astype(np.float64)
    small = np.abs(rounded) < _SMALLEST_NORMAL_HALF
    rounded[small] = _SMALLEST_NORMAL_HALF * np.rint(weight[small] / _SMALLEST_NORMAL_HALF)
    return rounded


def stored(weight: npt.NDArray[Any], storage: Storage) -> npt.NDArray[Any]:
    """The weights of a network of that storage, as they lie in memory: float32, int8, or the uint16 bits of float16."""
    if storage == "int8":
        return weight.astype(np.int8)
    return weight.astype(np.float16).view(np.uint16) if storage == "fp16" else weight.astype(np.float32)
