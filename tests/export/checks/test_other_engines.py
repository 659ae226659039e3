"""`--strict-engines`: OpenVINO and OpenCV are checked too, and named where their output differs."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch

from export.bundle.build import export_bundle
from export.checks.other_engines import other_engines
from export.checks.parity import ParityMeasurement, check_graph
from export.checks.reference import Reference
from export.errors import ValuesError
from export.specs import GraphSpec, graphs_of
from runtime.bundle import Bundle
from trainer.checkpoint import Checkpoint, DataRecord, EpochMetrics, current_versions, load_checkpoint
from trainer.model.vae import ModelConfig, build_model
from trainer.settings import Settings
from trainer.training.run_folder import Run

PACKAGES = {"OpenVINO": "openvino", "OpenCV": "cv2"}
GRAPHS = {"OpenVINO": {"decoder", "encoder", "reconstructor"}, "OpenCV": {"decoder", "encoder"}}


@pytest.fixture(params=PACKAGES)
def engine(request: pytest.FixtureRequest) -> str:
    """The name of an installed engine."""
    pytest.importorskip(PACKAGES[request.param])
    return str(request.param)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> list[ParityMeasurement]:
    """A strict export of an untrained model with every kind of layer: convolutions, batch norm, up-sampling."""
    settings = Settings("conv", (4, 6), 5, 8, 1, None, network="conv", batch_norm=True)
    config = ModelConfig.of(settings, (3, 8, 8))
    checkpoint = Checkpoint(
        model_config=config,
        settings=settings,
        data=DataRecord("noise", "0" * 64, 64, 64, 0.0),
        model_state=build_model(config, 0).state_dict(),
        optimizer_state={},
        history=(EpochMetrics(1, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0),),
        reference_images=torch.randint(256, (64, 8, 8, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8),
        versions=current_versions(),
    )
    folder = tmp_path_factory.mktemp("strict") / "bundle"
    return export_bundle(checkpoint, folder, formats=["onnx"], strict_engines=True)


def test_strict_export_of_convolutions_measures_the_engine_on_every_graph_that_it_can_run(
    engine: str, measured: list[ParityMeasurement]
) -> None:
    assert {entry.graph for entry in measured if entry.engine == engine} == GRAPHS[engine]
    assert all(entry.passed for entry in measured)


@pytest.mark.parametrize("graph", ["decoder", "encoder", "reconstructor"])
def test_the_engine_computes_a_trained_mlp_and_only_when_asked(
    engine: str, graph: str, bundle: Path, tiny_run: Run
) -> None:
    checked = {strict: check(tiny_run, bundle, graph, strict=strict) for strict in (True, False)}
    assert (engine in {entry.engine for entry in checked[True]}) == (graph in GRAPHS[engine])
    assert engine not in {entry.engine for entry in checked[False]}


def check(run: Run, bundle: Path, graph: str, *, strict: bool) -> list[ParityMeasurement]:
    checkpoint = load_checkpoint(run.best)
    model = checkpoint.build_model()
    spec = next(spec for spec in graphs_of(model) if spec.name == graph)
    images = checkpoint.reference_images.numpy()
    return check_graph(spec, Reference(model), Bundle.open(bundle), images, strict=strict)


def test_an_engine_with_a_different_output_is_named(
    engine: str, bundle: Path, tiny_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only `engine` gets the faulty file."""

    def with_a_fault(spec: GraphSpec, content: bytes) -> object:
        model = onnx.load_from_string(content)
        bias = next(tensor for tensor in model.graph.initializer if tensor.name.endswith("bias"))
        values = onnx.numpy_helper.to_array(bias).copy()
        values[0] += 0.01
        bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
        faulty = dict(other_engines(spec, model.SerializeToString()))
        return [(name, faulty[name] if name == engine else run) for name, run in other_engines(spec, content)]

    monkeypatch.setattr("export.checks.engines.other_engines", with_a_fault)
    with pytest.raises(ValuesError, match=rf"decoder in {engine}.*nothing was published"):
        check(tiny_run, bundle, "decoder", strict=True)
