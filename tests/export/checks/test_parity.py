"""A published bundle computes what the trained model computes; otherwise nothing is published."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from export.bundle.build import export_bundle
from export.checks import parity
from export.errors import ParityError
from export.formats.to_torchscript import load_torchscript
from runtime import Sampler
from runtime.noise import standard_normal
from trainer.checkpoint import Checkpoint, load_checkpoint
from trainer.training.run_folder import Run

ENGINES = {"PyTorch eager", "TorchScript", "torch.export", "onnxruntime", "onnxruntime, plain", "ONNX reference"}


def test_every_engine_is_measured_on_every_kind_of_input(tiny_run: Run, tmp_path: Path) -> None:
    measurements = export_bundle(load_checkpoint(tiny_run.best), tmp_path / "bundle")
    seen = {(entry.graph, entry.engine, entry.inputs) for entry in measurements}
    for graph, inputs in {
        "decoder": ["prior latents", "latents of norm 4√L"],
        "encoder": ["test images", "black images", "white images"],
    }.items():
        assert {(graph, engine, case) for engine in ENGINES for case in inputs} <= seen
    assert all(entry.passed for entry in measurements)
    written = json.loads((tmp_path / "bundle" / "parity.json").read_text())
    assert len(written["measurements"]) == len(measurements)


@pytest.mark.parametrize(
    ("image_shape", "hidden", "latent_dim"),
    [((1, 28, 28), (400,), 20), ((1, 8, 6), (9, 7, 5), 1), ((3, 6, 5), (4,), 33), ((1, 2, 2), (6,), 2)],
)
def test_random_models_of_any_shape_pass(
    random_checkpoint: Callable[..., Checkpoint],
    tmp_path: Path,
    image_shape: tuple[int, int, int],
    hidden: tuple[int, ...],
    latent_dim: int,
) -> None:
    checkpoint = random_checkpoint(3, image_shape, hidden, latent_dim)
    assert all(entry.passed for entry in export_bundle(checkpoint, tmp_path / "bundle"))


def test_the_errors_in_the_certificate_are_those_of_an_independent_evaluation(
    random_checkpoint: Callable[..., Checkpoint], tmp_path: Path
) -> None:
    """A decoder with one hidden layer, evaluated with NumPy in float64."""
    checkpoint = random_checkpoint(hidden=(4,), latent_dim=2)
    state = {name: tensor.double().numpy() for name, tensor in checkpoint.model_state.items()}
    measurements = export_bundle(checkpoint, tmp_path / "bundle", formats=["onnx"])
    z = standard_normal(0, np.arange(64), 2)
    hidden = np.maximum(z @ state["decoder.0.weight"].T + state["decoder.0.bias"], 0)
    logits = hidden @ state["decoder.2.weight"].T + state["decoder.2.bias"]
    exact = 1 / (1 + np.exp(-logits))
    error = np.abs(Sampler(tmp_path / "bundle").decode(z).reshape(64, -1) - exact).max()
    entry = next(e for e in measurements if (e.engine, e.inputs) == ("onnxruntime", "prior latents"))
    assert entry.max_error == pytest.approx(error, rel=0.5)  # the certificate also covers batches of 1, 2 and 7
    assert entry.max_error >= error * (1 - 1e-6)  # in float64, NumPy and torch differ by 1e-16


def forbid_any_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "SMALLEST_LIMIT", 0.0)
    monkeypatch.setattr(parity, "FACTOR", 0.0)


def test_a_fault_leaves_no_bundle(tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_any_error(monkeypatch)
    with pytest.raises(ParityError, match="nothing was published"):
        export_bundle(load_checkpoint(tiny_run.best), tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_a_fault_keeps_the_bundle_that_was_there(bundle: Path, tiny_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    forbid_any_error(monkeypatch)
    with pytest.raises(ParityError):
        export_bundle(load_checkpoint(tiny_run.best), bundle)
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before


def test_exported_graphs_take_batches_that_were_never_traced(bundle: Path) -> None:
    module = load_torchscript((bundle / "decoder.pt").read_bytes())
    for batch in (1, 3, 100):
        assert Sampler(bundle).sample(batch).shape == (batch, 12, 12, 1)
        assert module(torch.zeros(batch, 5)).shape == (batch, 1, 12, 12)
