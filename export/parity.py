"""The gate: no graph is published unless every engine computes what the trained model computes.

The reference is the same graph evaluated by PyTorch in float64. Each engine's error on each kind of input is
|x − reference| / max(1, |reference|), the largest over all outputs, inputs and batch sizes. An engine passes when its
error is at most 4 times that of PyTorch eager in float32, or 1e-6, whichever is larger, and never over 1e-5 on images
and means.
"""

from __future__ import annotations

import copy
import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch

from export.errors import ParityError
from export.graphs import GraphSpec
from export.to_torchscript import load_torchscript
from runtime.bundle import Bundle
from runtime.images import to_float
from runtime.noise import standard_normal
from runtime.session import GraphSession

BATCHES = (1, 2, 7, 64)
EAGER_FACTOR = 4.0
SMALLEST_LIMIT = 1e-6
HARD_LIMIT = 1e-5
"""For images and means, whatever PyTorch's own error is."""
_HARD_OUTPUTS = ("image", "mean")
_SEED = 0  # of the latents that the check draws

Arrays = Sequence[npt.NDArray[Any]]
Engine = Callable[[Arrays], Arrays]


@dataclass(frozen=True)
class Measurement:
    """The largest error of one engine on one output for one kind of input."""

    graph: str
    engine: str
    output: str
    inputs: str
    max_error: float
    """Largest |x − reference| / max(1, |reference|)."""
    limit: float

    @property
    def passed(self) -> bool:
        """Also false where the error is NaN."""
        return self.max_error <= self.limit

    @property
    def share_of_limit(self) -> float:
        """1 where the error is just what is allowed."""
        return self.max_error / self.limit


def check_parity(
    specs: Iterable[GraphSpec], bundle: Bundle, reference_images: npt.NDArray[np.uint8]
) -> list[Measurement]:
    """Measure every graph of `bundle` in every engine it was exported for.

    reference_images: uint8 (N, H, W, C), real test images. Raises ParityError, naming the first graph, engine, output
    and input, where names, shapes, types or values differ.
    """
    measurements: list[Measurement] = []
    for spec in specs:
        cases = _input_cases(spec, bundle, reference_images)
        engines = _engines(spec, bundle)
        eager = _measure(spec, "PyTorch eager", _eager(spec), cases, eager_errors=None)
        measurements += eager
        errors = {(entry.output, entry.inputs): entry.max_error for entry in eager}
        for name, engine in engines.items():
            measurements += _measure(spec, name, engine, cases, eager_errors=errors)
    for entry in measurements:
        if not entry.passed:
            raise ParityError(
                f"{entry.graph} in {entry.engine}: output {entry.output!r} on {entry.inputs} is off by "
                f"{entry.max_error:.3g}, at most {entry.limit:.3g} is allowed; nothing was published"
            )
    return measurements


def certificate(measurements: Sequence[Measurement]) -> dict[str, Any]:
    """What `parity.json` holds: the rule, the figures, and where they were measured."""
    return {
        "rule": {
            "reference": "the same graph in PyTorch float64",
            "error": "|x - reference| / max(1, |reference|), largest over values, inputs and batches",
            "eager_factor": EAGER_FACTOR,
            "smallest_limit": SMALLEST_LIMIT,
            "hard_limit": dict.fromkeys(_HARD_OUTPUTS, HARD_LIMIT),
            "batches": list(BATCHES),
        },
        "measurements": [
            {
                "graph": entry.graph,
                "engine": entry.engine,
                "output": entry.output,
                "inputs": entry.inputs,
                "max_error": float(f"{entry.max_error:.3g}"),
                "limit": float(f"{entry.limit:.3g}"),
            }
            for entry in measurements
        ],
        "measured_with": {
            "torch": str(torch.__version__),
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
            "numpy": np.__version__,
            "machine": platform.machine(),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        },
    }


def summarise(measurements: Sequence[Measurement]) -> list[tuple[str, str, float, float]]:
    """For each graph and engine: its largest error, and the largest share of its limit that it used."""
    rows: dict[tuple[str, str], list[Measurement]] = {}
    for entry in measurements:
        rows.setdefault((entry.graph, entry.engine), []).append(entry)
    return [
        (graph, engine, max(entry.max_error for entry in entries), max(entry.share_of_limit for entry in entries))
        for (graph, engine), entries in rows.items()
    ]


def _input_cases(
    spec: GraphSpec, bundle: Bundle, reference_images: npt.NDArray[np.uint8]
) -> dict[str, npt.NDArray[np.float32]]:
    """Inputs of 64 rows, by what they are: typical ones, and the ends of what a user may send."""
    rows = max(BATCHES)
    metadata = bundle.manifest.metadata
    if spec.inputs[0].name == "z":
        prior = standard_normal(_SEED, np.arange(rows), metadata.latent_dim)
        norms = np.linalg.norm(prior, axis=1, keepdims=True)
        return {
            "prior latents": prior,
            "latents of norm 4√L": (prior / norms * 4 * np.sqrt(metadata.latent_dim)).astype(np.float32),
        }
    shape = (rows, *metadata.image_shape)
    return {
        "test images": to_float(reference_images[np.arange(rows) % len(reference_images)]),
        "black images": np.zeros(shape, np.float32),
        "white images": np.ones(shape, np.float32),
    }


def _engines(spec: GraphSpec, bundle: Bundle) -> dict[str, Engine]:
    """Each engine that the bundle has a file for, reading that very file."""
    files = bundle.manifest.graphs[spec.name].files
    engines: dict[str, Engine] = {}
    if "torchscript" in files:
        engines["TorchScript"] = _torchscript(bundle.read(files["torchscript"]))
    if "onnx" in files:
        optimised = GraphSession(bundle, spec.name)
        plain = GraphSession(bundle, spec.name, optimize=False)
        engines["onnxruntime"] = lambda inputs: optimised.run(*inputs)
        engines["onnxruntime, unoptimised"] = lambda inputs: plain.run(*inputs)
        engines["ONNX reference"] = _onnx_reference(bundle.read(files["onnx"]))
    return engines


def _eager(spec: GraphSpec) -> Engine:
    return lambda inputs: _run_module(spec.module, inputs)


def _reference(spec: GraphSpec) -> Engine:
    double = copy.deepcopy(spec.module).double()
    return lambda inputs: _run_module(double, [array.astype(np.float64) for array in inputs])


def _torchscript(content: bytes) -> Engine:
    module = load_torchscript(content)
    return lambda inputs: _run_module(module, inputs)


def _onnx_reference(content: bytes) -> Engine:
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(onnx.load_from_string(content))
    names = evaluator.input_names

    def run(inputs: Arrays) -> Arrays:
        with np.errstate(over="ignore"):  # its sigmoid of a large negative logit is 1 / (1 + inf), which is right
            return list(evaluator.run(None, dict(zip(names, inputs, strict=True))))

    return run


@torch.no_grad()
def _run_module(module: Any, inputs: Arrays) -> Arrays:
    outputs = module(*(torch.from_numpy(array) for array in inputs))
    return [output.numpy() for output in (outputs if isinstance(outputs, tuple) else (outputs,))]


def _measure(
    spec: GraphSpec,
    engine_name: str,
    engine: Engine,
    cases: dict[str, npt.NDArray[np.float32]],
    eager_errors: dict[tuple[str, str], float] | None,
) -> list[Measurement]:
    reference = _reference(spec)
    measurements = []
    for case, rows in cases.items():
        errors = dict.fromkeys((port.name for port in spec.outputs), 0.0)
        for batch in BATCHES:
            inputs = [rows[:batch]]
            outputs, expected = engine(inputs), reference(inputs)
            _check_form(spec, engine_name, outputs, expected)
            for port, output, exact in zip(spec.outputs, outputs, expected, strict=True):
                errors[port.name] = np.maximum(errors[port.name], _max_error(output, exact))  # keeps NaN
        for output_name, error in errors.items():
            limit = HARD_LIMIT if output_name in _HARD_OUTPUTS else np.inf
            if eager_errors is not None:
                limit = min(limit, max(EAGER_FACTOR * eager_errors[output_name, case], SMALLEST_LIMIT))
            measurements.append(Measurement(spec.name, engine_name, output_name, case, float(error), float(limit)))
    return measurements


def _check_form(spec: GraphSpec, engine_name: str, outputs: Arrays, expected: Arrays) -> None:
    """Number, shape and type of the outputs come before their values."""
    if len(outputs) != len(expected):
        raise ParityError(f"{spec.name} in {engine_name}: gives {len(outputs)} outputs, expected {len(expected)}")
    for port, output, exact in zip(spec.outputs, outputs, expected, strict=True):
        if output.shape != exact.shape or output.dtype != np.dtype(port.dtype):
            raise ParityError(
                f"{spec.name} in {engine_name}: output {port.name!r} is {output.dtype} {output.shape}, "
                f"expected {port.dtype} {exact.shape}; nothing was published"
            )


def _max_error(output: npt.NDArray[Any], exact: npt.NDArray[Any]) -> float:
    return float((np.abs(output - exact) / np.maximum(1, np.abs(exact))).max())
