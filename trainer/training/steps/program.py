"""A sequence of tensor operations without Python between them, so that workers do not wait for each other's GIL."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Program = Callable[..., Sequence[Tensor]]
"""Tensors to tensors."""

_ONE_AT_A_TIME = threading.Lock()  # filters of warnings belong to the process


def without_python(function: Program, arguments: Sequence[Tensor]) -> Program:
    """`function` as TorchScript, for arguments of these shapes and dtypes: the same operators in the same order.

    function: tensors to a tuple of tensors. It must not branch on values; branches on shapes are taken here. Where a
    later torch has no TorchScript, which is deprecated, the function is returned as it is: equal, and slower when
    several threads call such functions.
    """
    if not hasattr(torch.jit, "trace"):
        return function
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        program: Program = torch.jit.trace(function, tuple(arguments), check_trace=False)
    return program
