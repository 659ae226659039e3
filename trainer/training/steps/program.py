"""A sequence of tensor operations without Python between them, so that workers do not wait for each other's GIL."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Program = Callable[..., list[Tensor]]
"""Tensors, and perhaps a list of them at the end, to tensors."""

_ONE_AT_A_TIME = threading.Lock()  # filters of warnings belong to the process


def without_python(function: Program, arguments: Sequence[Tensor | list[Tensor]]) -> Program:
    """`function` as TorchScript, for arguments of these shapes and dtypes: the same operators in the same order.

    function: it must not branch on values; branches on shapes are taken here.
    """
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        program: Program = torch.jit.trace(function, tuple(arguments), check_trace=False, strict=False)
    return program


def scripted(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` compiled by TorchScript from its source, with its branches and loops, and what it calls."""
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        program: Callable[..., Any] = torch.jit.script(function)
    return program
