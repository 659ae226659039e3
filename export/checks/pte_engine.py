"""ExecuTorch as an engine of the parity check."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from export.checks.engines import Arrays, Engine
from export.errors import ShapesError
from export.formats.to_pte import largest_batch
from export.specs import GraphSpec
from runtime.errors import EngineError
from runtime.pte import PteProgram


def executorch(spec: GraphSpec, content: bytes) -> Engine:
    """One graph, loaded from its `.pte` file. Raises ShapesError where it takes more rows than it states."""
    program = PteProgram(content, f"{spec.name}.pte")
    most = largest_batch(spec)
    _check_bound(spec, program, most)
    latents, component = (_in_parts(program, name, most) for name in ("latents", "component"))
    return Engine("ExecuTorch", lambda inputs: program.run("forward", *inputs), latents, component)


def _check_bound(spec: GraphSpec, program: PteProgram, most: int) -> None:
    """The stated batch runs, and one row more is refused: anything else would be memory that nobody reserved."""

    def zeros(rows: int) -> Arrays:
        return [
            np.zeros([rows if size == "N" else int(size) for size in port.shape], port.dtype) for port in spec.inputs
        ]

    program.run("forward", *zeros(most))
    try:
        program.run("forward", *zeros(most + 1))
    except EngineError:
        return
    raise ShapesError(f"{spec.name} in ExecuTorch: takes a batch of {most + 1}, above its largest, {most}")


def _in_parts(program: PteProgram, method: str, most: int) -> Callable[[Arrays], npt.NDArray[Any]] | None:
    """A method of rows, for any number of them; None where the program has it not. Scalars are the same for each."""
    if method not in program.methods:
        return None

    def run(inputs: Arrays) -> npt.NDArray[Any]:
        count = max(len(array) for array in inputs if array.ndim)
        parts = [
            program.run(method, *(array[start : start + most] if array.ndim else array for array in inputs))[0]
            for start in range(0, count, most)
        ]
        return np.concatenate(parts)

    return run
