"""A `.pte` file run by ExecuTorch, PyTorch's runtime for phones, where its package is installed (extra `executorch`).

Its Python package takes and gives PyTorch tensors, so this file alone of the runtime imports PyTorch, and only when a
program is opened.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import EngineError

_Arrays = list[npt.NDArray[Any]]


def executorch_is_installed() -> bool:
    """Whether programs can be opened here."""
    return find_spec("executorch") is not None


class PteProgram:
    """A program of one or more methods, which take and give NumPy arrays. The batch is bounded."""

    def __init__(self, content: bytes, name: str) -> None:
        """name: of the file, for the words of an error. Raises EngineError where ExecuTorch cannot load it."""
        import torch

        with _quiet():
            from executorch.runtime import Runtime

        self._to_tensor = torch.from_numpy
        self._name = name
        with self._failing("load it"):
            self._program = Runtime.get().load_program(content)  # methods read its memory
            names = sorted(self._program.method_names)
            self._methods = {method: self._program.load_method(method) for method in names}

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods; `forward` is the graph."""
        return tuple(self._methods)

    def run(self, method: str, *inputs: npt.NDArray[Any]) -> _Arrays:
        """Outputs of a method. Raises EngineError where it refuses its inputs: a batch above the largest, for one."""
        tensors = [self._to_tensor(np.array(array, order="C")) for array in inputs]
        with self._failing(f"run {method}"):
            outputs = self._methods[method].execute(tensors)
        return [output.numpy().copy() for output in outputs]  # the next call may reuse their memory

    @contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        try:
            with _quiet():
                yield
        except (RuntimeError, ValueError) as error:
            raise EngineError(f"{self._name}: ExecuTorch cannot {what}: {' '.join(str(error).split())}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what ExecuTorch's native code writes to stderr, about processors and about inputs that it refuses, and
    torchao's warning while it is imported. Errors still end in exceptions.
    """
    sys.stderr.flush()
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        os.dup2(null, 2)
        yield
    finally:
        logging.disable(disabled)
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)
