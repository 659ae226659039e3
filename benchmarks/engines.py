"""The graphs of a bundle in engines that nobody here wrote: which load, and which agree.

    python benchmarks/engines.py [BUNDLE] [--only ENGINE]

BUNDLE [runs/latest/bundle] should hold onnx, pt2 and pte, as `vae-export --format all --format pte` writes them; an
engine whose format is missing is left out. Each engine is installed in an environment of its own,
.venv-engines/<engine>, and each graph runs in a process of its own for at most TIME_LIMIT_S seconds. The inputs are the
bundle's golden values, seeds and indices above 2**53 included. Latents count as right if every bit is, images if they
are at most one grey level from the float64 reference, float outputs at most 1e-5.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from export.checks.parts import latents_part
from runtime.bundle import Bundle
from runtime.golden import Golden, golden_case, read_golden
from runtime.manifest import LEVEL_LIMIT, RELATIVE_LIMIT

ROOT = Path(__file__).parent.parent
ENVIRONMENTS = ROOT / ".venv-engines"
RUNNER = ROOT / "benchmarks" / "peers" / "run_engine.py"
TIME_LIMIT_S = 180
GRAPHS = ("decoder", "encoder", "reconstructor", "sampler", "latents")


@dataclass(frozen=True)
class Engine:
    """An engine, and what installs it."""

    title: str
    runner: str
    """The function of `peers/run_engine.py`."""
    packages: tuple[str, ...]
    """Requirements; the first is the one whose version is shown."""
    suffix: str = ".onnx"
    """Ending of the files that it reads."""


ENGINES = {
    "onnxruntime-1.18": Engine("onnxruntime, oldest", "onnxruntime", ("onnxruntime==1.18.*", "numpy<2")),
    "onnxruntime": Engine("onnxruntime, newest", "onnxruntime", ("onnxruntime", "numpy")),
    "executorch": Engine("ExecuTorch, XNNPACK", "executorch", ("executorch", "torch==2.14.*"), ".pte"),
    "tvm": Engine("TVM, LLVM", "tvm", ("apache-tvm", "onnx")),
    "emx": Engine("emx-onnx-cgen, C", "emx", ("emx-onnx-cgen", "onnx")),
    "openvino": Engine("OpenVINO, CPU", "openvino", ("openvino", "numpy")),
    "jax": Engine("JAX by jaxonnxruntime", "jax", ("jaxonnxruntime", "jax", "onnx", "absl-py")),
    "tinygrad": Engine("tinygrad", "tinygrad", ("tinygrad", "onnx")),
    "iree": Engine("IREE, LLVM", "iree", ("iree-base-compiler", "iree-base-runtime", "onnx")),
    "litert": Engine("LiteRT by litert-torch", "litert", ("litert-torch", "ai-edge-litert", "torch==2.14.*"), ".pt2"),
    "onnx2tf": Engine("LiteRT by onnx2tf", "onnx2tf", ("onnx2tf",)),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", nargs="?", type=Path, default=ROOT / "runs" / "latest" / "bundle")
    parser.add_argument("--only", nargs="+", choices=ENGINES, default=list(ENGINES))
    options = parser.parse_args()
    bundle = Bundle.open(options.bundle)
    golden = read_golden(bundle)
    print(f"{datetime.now(UTC):%Y-%m-%d}, {options.bundle}, {bundle.manifest.metadata.provenance['architecture']}\n")
    print("| engine | version | decoder | encoder | reconstructor | sampler: images | sampler: latents |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        shutil.copytree(options.bundle, folder, dirs_exist_ok=True)
        write_latents_graph(folder, bundle.manifest.metadata.latent_dim)
        for key in options.only:
            print(row(key, ENGINES[key], folder, bundle, golden, notes), flush=True)
    print("\n" + "\n".join(notes))


def write_latents_graph(folder: Path, latent_dim: int) -> None:
    """latents.onnx: the part of sampler.onnx that draws the latents."""
    part = latents_part(onnx.load(folder / "sampler.onnx"))
    assert part is not None
    name = part.graph.output[0].name
    part.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", latent_dim]))
    onnx.save(part, folder / "latents.onnx")


def row(key: str, engine: Engine, folder: Path, bundle: Bundle, golden: Golden, notes: list[str]) -> str:
    """A line of the table. Appends what the engine said about a graph that it does not run."""
    python = python_of(key, engine)
    if isinstance(python, str):
        notes.append(f"- {engine.title}: {python}")
        return f"| {engine.title} | not installable here | – | – | – | – | – |"
    cells = []
    for graph in GRAPHS:
        file = "sampler.pte" if (graph, engine.suffix) == ("latents", ".pte") else f"{graph}{engine.suffix}"
        if not (folder / file).exists():
            cells.append("–")
            continue
        inputs, expected = case(graph, bundle, golden)
        found = run(python, engine, graph, folder, inputs)
        if isinstance(found, str):
            notes.append(f"- {engine.title}, {graph}: {found}")
            cells.append("no")
        else:
            cells.append(verdict(graph, found, list(expected.values())))
    return f"| {engine.title} | {version_of(python, engine)} | {' | '.join(cells)} |"


def case(graph: str, bundle: Bundle, golden: Golden) -> tuple[dict[str, npt.NDArray[Any]], Golden]:
    """Named inputs of a graph, and the outputs of the reference."""
    if graph == "latents":
        names = [port.name for port in bundle.manifest.graphs["sampler"].inputs if port.name != "temperature"]
        return {name: golden[name] for name in names}, {"latents": golden["latents"]}
    inputs, expected = golden_case(golden, graph, bundle.manifest)
    names = [port.name for port in bundle.manifest.graphs[graph].inputs]
    return dict(zip(names, inputs, strict=True)), expected


def run(
    python: Path, engine: Engine, graph: str, folder: Path, inputs: dict[str, npt.NDArray[Any]]
) -> list[npt.NDArray[Any]] | str:
    """Outputs of a graph, or why there are none."""
    given, made = folder / "inputs.npz", folder / "outputs.npz"
    np.savez(given, **inputs)  # type: ignore[arg-type]  # NumPy's stub takes the names for options
    made.unlink(missing_ok=True)
    command = [str(part) for part in (python, RUNNER, engine.runner, folder, graph, given, made)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIME_LIMIT_S, cwd=folder)
    except subprocess.TimeoutExpired:
        return f"gave no answer in {TIME_LIMIT_S} s"
    if done.returncode < 0:
        return f"ended by signal {-done.returncode}"
    if done.returncode or not made.exists():
        lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()] or ["no message"]
        errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception|NotImplemented|Unsupported)", line)]
        return (errors or lines)[-1][:200]
    with np.load(made) as archive:
        return [archive[name] for name in archive.files]


def verdict(graph: str, found: list[npt.NDArray[Any]], expected: list[npt.NDArray[Any]]) -> str:
    """A cell: how far the outputs are from the reference, in bold where that is too far."""
    if [array.size for array in found] != [array.size for array in expected]:
        return f"**{', '.join(str(array.shape) for array in found)}**"
    pairs = [(array.reshape(exact.shape), exact) for array, exact in zip(found, expected, strict=True)]
    if graph == "latents":
        differing = sum(int((array.view(np.uint32) != exact.view(np.uint32)).sum()) for array, exact in pairs)
        return f"**{differing} of {pairs[0][1].size} differ**" if differing else "identical"
    errors = [np.abs(array.astype(np.float64) - exact) for array, exact in pairs]
    if expected[0].dtype == np.uint8:
        worst = int(errors[0].max())
        if worst > LEVEL_LIMIT:
            return "**black**" if not found[0].any() else f"**{worst} levels off**"
        return f"{worst} level{'s' * (worst != 1)}"
    relative = max(
        float((error / np.maximum(1, np.abs(exact))).max()) for error, (_, exact) in zip(errors, pairs, strict=True)
    )
    return f"{relative:.1e}" if relative <= RELATIVE_LIMIT else f"**{relative:.1e}**"


def python_of(key: str, engine: Engine) -> Path | str:
    """The interpreter of an engine's environment, made on the first call; or why it could not be made."""
    folder = ENVIRONMENTS / key
    python, done = folder / "bin" / "python", folder / ".installed"
    if not done.exists():
        print(f"installing {', '.join(engine.packages)}", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *engine.packages]
        installed = subprocess.run(command, capture_output=True, text=True)
        if installed.returncode:
            return " ".join(installed.stderr.split())[-200:]
        done.touch()
    return python


def version_of(python: Path, engine: Engine) -> str:
    """The installed version of an engine's first package."""
    name = engine.packages[0].split("=")[0]
    program = f"from importlib.metadata import version; print(version({name!r}))"
    return subprocess.run([python, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
