"""Programs of ExecuTorch beside onnxruntime, each on one thread: size, images per second, peak memory.

    python benchmarks/executorch_speed.py [BUNDLE]

BUNDLE [runs/latest/bundle] holds onnx and pte; run it where executorch is installed, such as in .venv-executorch of
`make test-executorch`. Both sides take turns within each round; figures are medians over the rounds. Peak memory is
that of a process of its own, which opens one graph and runs it once at batch 64.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from runtime.bundle import Bundle
from runtime.machine.description import cpu

BATCH, ROUNDS, ROUND_S = 64, 9, 0.2
Run = Callable[[list[npt.NDArray[Any]]], object]


def main() -> None:
    if sys.argv[1:2] == ["--peak"]:
        return print_peak(*sys.argv[2:])
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/latest/bundle")
    bundle = Bundle.open(folder)
    print(f"{cpu()['model']}, onnxruntime {onnxruntime.__version__}, one thread\n")
    print("| graph | bytes, ONNX and .pte | images/s at 64 | images/s at 1 | peak memory, MB |")
    print("| --- | --- | --- | --- | --- |")
    for graph in bundle.manifest.graphs:
        runs = {engine: opened(engine, bundle, graph) for engine in ("onnxruntime", "executorch")}
        sizes = (len(bundle.read(file_of(engine, bundle, graph))) for engine in runs)
        fast, single = (speeds(runs, inputs_of(bundle, graph, rows), rows) for rows in (BATCH, 1))
        peaks = [peak(engine, folder, graph) for engine in runs]
        print(
            f"| {graph} | {' · '.join(f'{size:,}' for size in sizes)} | {compared(fast)} | {compared(single)} "
            f"| {peaks[0]:.0f} · {peaks[1]:.0f} |",
            flush=True,
        )
    return None


def file_of(engine: str, bundle: Bundle, graph: str) -> str:
    """The file of a graph that an engine reads."""
    programs = bundle.manifest.executorch
    assert programs is not None, "run vae-export --format onnx --format pte"
    return bundle.manifest.graphs[graph].files["onnx"] if engine == "onnxruntime" else programs.files[graph]


def opened(engine: str, bundle: Bundle, graph: str) -> Run:
    """A graph, ready to run on inputs in its order, on one thread."""
    content = bundle.read(file_of(engine, bundle, graph))
    if engine == "executorch":
        import torch
        from executorch.runtime import Runtime

        torch.set_num_threads(1)
        program = Runtime.get().load_program(content)
        method = program.load_method("forward")
        return lambda inputs: (program, method.execute([torch.from_numpy(array) for array in inputs]))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_inputs()]
    return lambda inputs: session.run(None, dict(zip(names, inputs, strict=True)))


def inputs_of(bundle: Bundle, graph: str, rows: int) -> list[npt.NDArray[Any]]:
    """Random inputs of a graph."""
    random = np.random.default_rng(0)
    arrays = []
    for port in bundle.manifest.graphs[graph].inputs:
        shape = [rows if size == "N" else int(size) for size in port.shape]
        if port.dtype == "float32":
            arrays.append(np.array(random.random(shape), np.float32) if shape else np.array(1, np.float32))
        else:
            arrays.append(np.array(random.integers(0, 10, shape), port.dtype))
    return arrays


def speeds(runs: dict[str, Run], inputs: list[npt.NDArray[Any]], rows: int) -> dict[str, float]:
    """Images per second of each engine."""
    found: dict[str, list[float]] = {engine: [] for engine in runs}
    for _ in range(ROUNDS):
        for engine, run in runs.items():
            run(inputs)
            calls, began = 0, time.perf_counter()
            while time.perf_counter() - began < ROUND_S / len(runs):
                run(inputs)
                calls += 1
            found[engine].append(calls * rows / (time.perf_counter() - began))
    return {engine: median(values) for engine, values in found.items()}


def compared(found: dict[str, float]) -> str:
    theirs, programs = found.values()
    return f"{theirs:,.0f} · {programs:,.0f} ({programs / theirs:.2f})"


def peak(engine: str, folder: Path, graph: str) -> float:
    """Megabytes of a new process that runs one graph."""
    command = [sys.executable, __file__, "--peak", engine, str(folder), graph]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def print_peak(engine: str, folder: str, graph: str) -> None:
    """What the engine and one graph add to the memory of Python, NumPy and, for ExecuTorch, PyTorch."""
    if engine == "executorch":
        import torch  # noqa: F401
        from executorch.runtime import Runtime

        Runtime.get()
    bundle = Bundle.open(Path(folder))
    inputs = inputs_of(bundle, graph, BATCH)
    before = high_water_mb()
    opened(engine, bundle, graph)(inputs)
    print(high_water_mb() - before)


def high_water_mb() -> float:
    """Peak memory of this process. getrusage would also count what its parent had when it made it."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
