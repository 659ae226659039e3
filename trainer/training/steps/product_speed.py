"""How fast this processor multiplies matrices, measured in a few hundredths of a second."""

from __future__ import annotations

import threading
import time
from functools import cache

import torch
from torch import Tensor

from trainer.threads import one_thread
from trainer.training.steps.gemm import BLAS, ONEDNN, Products

_IMAGES, _INPUTS, _OUTPUTS = 64, 784, 256  # the first layer of preset tutorial, and half a batch
_ROUNDS = 20
_CLEARLY = 0.93
"""BLAS is taken if its time is less than this share of oneDNN's, far enough from what was seen for two measurements to
agree: 0.8 on an Intel Xeon (Emerald Rapids), 2 on an AMD EPYC (Zen 5)."""

_ONE_AT_A_TIME = threading.Lock()


def fastest_library(dtype: torch.dtype) -> str:
    """The library that `Products` should take here, `ONEDNN` or `BLAS`: the same throughout the process."""
    seconds = seconds_of_products(dtype)
    return BLAS if seconds[BLAS] < _CLEARLY * seconds[ONEDNN] else ONEDNN


def bf16_slowness() -> float:
    """The time of products in bfloat16, as a multiple of that in float32, each by the faster library."""
    return min(seconds_of_products(torch.bfloat16).values()) / min(seconds_of_products(torch.float32).values())


def seconds_of_products(dtype: torch.dtype) -> dict[str, float]:
    """The shortest time of each library for the three products of a layer, in turn, on one core; measured once."""
    with _ONE_AT_A_TIME:
        return _measured(dtype)


@cache
def _measured(dtype: torch.dtype) -> dict[str, float]:
    generator = torch.Generator().manual_seed(0)
    shapes = (_IMAGES, _INPUTS), (_OUTPUTS, _INPUTS), (_IMAGES, _OUTPUTS)
    tensors = [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]
    seconds = dict.fromkeys((ONEDNN, BLAS), float("inf"))
    with one_thread(), torch.no_grad():
        for _ in range(_ROUNDS):
            for library in seconds:
                started = time.perf_counter()
                _multiply(Products(library), *tensors)
                seconds[library] = min(seconds[library], time.perf_counter() - started)
    return seconds


def _multiply(products: Products, x: Tensor, weight: Tensor, grad: Tensor) -> None:
    """A layer forward, and backward to its input and its weights."""
    products.linear(x, weight)
    products.matmul(grad, weight)
    products.matmul(grad.t(), x)
