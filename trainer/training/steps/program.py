"""A sequence of tensor operations without Python between them, so that workers do not wait for each other's GIL."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Program = Callable[..., Sequence[Tensor]]
"""Tensors to tensors."""


def without_python(function: Program, arguments: Sequence[Tensor]) -> Program:
    """`function` as TorchScript, for arguments of these shapes and dtypes: the same operators in the same order.

    function: tensors to a tuple of tensors, without branches on their values; those on shapes are settled here. A future torch without TorchScript, which
    is deprecated since 2.10, leaves the function as it is: slower with several workers, and otherwise equal.
    """
    if not hasattr(torch.jit, "trace"):
        return function
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        program: Program = torch.jit.trace(function, tuple(arguments), check_trace=False)
    return program
