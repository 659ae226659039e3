"""Wrong arguments of the Python API raise its own errors, and what a decoder computes is checked too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from runtime import BundleError, InputError, Reconstructor, Sampler
from tests.runtime.test_hostile import relist


@pytest.mark.parametrize(
    "indices", [5, {1, 2}, (i for i in range(3)), None, "12", [[1]], [1.5], ["a"], [-1], [2**64], [None]]
)
def test_indices_that_are_none_raise_input_error(bundle: Path, indices: Any) -> None:
    with pytest.raises(InputError):
        Sampler(bundle).sample_indices(indices)


@pytest.mark.parametrize(
    "options",
    [{"precision": "bf16"}, {"precision": None}, {"threads": 0}, {"threads": "2"}, {"threads": -1}, {"threads": 1.5}],
)
@pytest.mark.parametrize("kind", [Sampler, Reconstructor])
def test_options_that_there_are_not_raise_input_error(bundle: Path, kind: Any, options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        kind(bundle, **options)


@pytest.mark.parametrize("temperature", ["1", None, [1.0, 2.0], float("nan"), float("inf"), -1, 1e300, 1j])
def test_temperatures_that_are_no_number_raise_input_error(bundle: Path, temperature: Any) -> None:
    with pytest.raises(InputError, match="temperature should be a finite number from 0"):
        Sampler(bundle).sample(3, temperature=temperature)


@pytest.mark.parametrize(
    "call",
    [
        lambda sampler: sampler.sample(2**62),
        lambda sampler: sampler.sample(2**40),
        lambda sampler: sampler.sample("3"),
        lambda sampler: sampler.sample(3, seed="0"),
        lambda sampler: sampler.sample(3, seed=None),
        lambda sampler: sampler.stream(3, batch_size="many"),
        lambda sampler: sampler.decode("abc"),
        lambda sampler: sampler.decode(None),
        lambda sampler: sampler.decode([[1], [2, 3]]),
    ],
)
def test_wrong_arguments_of_the_sampler_raise_input_error(bundle: Path, call: Callable[[Sampler], object]) -> None:
    with pytest.raises(InputError):
        call(Sampler(bundle))


@pytest.mark.parametrize(
    "call",
    [
        lambda model: model.reconstruct([[1]]),
        lambda model: model.reconstruct(None),
        lambda model: model.encode("x"),
        lambda model: model.encode([[1], [2, 3]]),
        lambda model: model.decode({}),
        lambda model: model.traverse(np.zeros((12, 12, 1), np.uint8), "first", [1]),
        lambda model: model.traverse(np.zeros((12, 12, 1), np.uint8), 0, ["a"]),
        lambda model: model.interpolate(np.zeros((12, 12, 1), np.uint8), [[1]], 3),
        lambda model: model.interpolate(np.zeros((12, 12, 1), np.uint8), np.zeros((12, 12, 1), np.uint8), 2.5),
    ],
)
def test_wrong_arguments_of_the_reconstructor_raise_input_error(
    bundle: Path, call: Callable[[Reconstructor], object]
) -> None:
    with pytest.raises(InputError):
        call(Reconstructor(bundle))


@pytest.mark.parametrize(("graph", "weight"), [("decoder", np.nan), ("decoder", 3e38), ("encoder", np.nan)])
def test_a_graph_that_computes_nan_gives_no_pixels(bundle: Path, graph: str, weight: float) -> None:
    model = onnx.load_from_string((bundle / f"{graph}.onnx").read_bytes())
    for constant in model.graph.initializer:
        array = onnx.numpy_helper.to_array(constant)
        if array.ndim == 2:
            constant.CopyFrom(onnx.numpy_helper.from_array(np.full_like(array, weight), constant.name))
    if weight > 0:  # infinity less infinity, where a sigmoid would hide an infinity
        (last,) = (node for node in model.graph.node if node.op_type == "Sigmoid")
        last.op_type = "Relu"
    relist(bundle, f"{graph}.onnx", model.SerializeToString())
    with np.errstate(all="ignore"), pytest.raises(BundleError, match="NaN or infinity"):
        Sampler(bundle).sample(300) if graph == "decoder" else Reconstructor(bundle).encode(
            np.zeros((3, 12, 12, 1), np.uint8)
        )
