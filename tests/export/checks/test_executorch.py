"""`--format pte`: programs of ExecuTorch go through the same gate, and refuse a batch above the one they state.

`make test-executorch` installs ExecuTorch in an environment of its own and forbids skipping; elsewhere the tests that
need it are skipped.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import numpy as np
import pytest

from export.bundle.build import export_bundle
from export.checks.parity import ParityMeasurement, check_graph
from export.checks.pte_engine import executorch
from export.checks.reference import Reference
from export.errors import ExportError, ValuesError
from export.formats.to_pte import LARGEST_BATCH, to_pte
from export.specs import graphs_of
from runtime.bundle import Bundle
from runtime.errors import BundleError, EngineError
from runtime.noise import standard_normal
from runtime.pte import PteProgram
from runtime.session import GraphSession
from runtime.verify import verify_bundle
from tests.hosts.test_conformance import INDICES, SEEDS, Drawn, check, labels_of
from tests.runtime.test_verify import change_golden
from trainer.checkpoint import Checkpoint, load_checkpoint
from trainer.model.vae import VAE
from trainer.training.run_folder import Run

needs_executorch = pytest.mark.skipif(
    find_spec("executorch") is None and not os.environ.get("VAE_REQUIRE_HOSTS"),
    reason="executorch is not installed; `make test-executorch` installs it",
)
# Of torchao, coremltools and torch's own export, which ExecuTorch imports and calls.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def exported(
    mixture_checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[ParityMeasurement]]:
    """A bundle of ONNX files and programs, with what the gate measured."""
    folder = tmp_path_factory.mktemp("pte") / "bundle"
    return folder, export_bundle(mixture_checkpoint, folder, formats=["onnx", "pte"])


@pytest.mark.skipif(find_spec("executorch") is not None, reason="executorch is installed")
def test_without_executorch_the_command_says_what_to_install(tiny_run: Run, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="needs the extra `executorch`"):
        export_bundle(load_checkpoint(tiny_run.best), tmp_path / "bundle", formats=["pte"])
    assert not (tmp_path / "bundle").exists()


def test_a_manifest_that_names_a_missing_program_is_refused(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    record = {"version": "1.5.1", "backend": "XNNPACK", "largest_batch": 64, "files": {"decoder": "decoder.pte"}}
    (bundle / "manifest.json").write_text(json.dumps(manifest | {"executorch": record}))
    with pytest.raises(BundleError, match=r"executorch names decoder\.pte, which files leaves out"):
        Bundle.open(bundle)


@needs_executorch
def test_all_four_graphs_pass_the_gate(exported: tuple[Path, list[ParityMeasurement]]) -> None:
    measured = [entry for entry in exported[1] if entry.engine == "ExecuTorch"]
    assert {entry.graph for entry in measured} == {"decoder", "encoder", "sampler", "reconstructor"}
    assert {"latents", "component"} <= {entry.output for entry in measured if entry.graph == "sampler"}
    assert {"test images", "latents of norm 4√L"} <= {entry.inputs for entry in measured}
    assert all(entry.passed for entry in measured)


@needs_executorch
def test_a_program_runs_up_to_its_largest_batch_and_refuses_more(
    exported: tuple[Path, list[ParityMeasurement]],
) -> None:
    bundle = Bundle.open(exported[0])
    record = bundle.manifest.executorch
    assert record is not None
    assert record.largest_batch == LARGEST_BATCH
    program = PteProgram(bundle.read(record.files["decoder"]), record.files["decoder"])
    session = GraphSession(bundle, "decoder")
    z = standard_normal(3, np.arange(LARGEST_BATCH + 1), bundle.manifest.metadata.latent_dim)
    for rows in (LARGEST_BATCH, 1, 5, LARGEST_BATCH):  # a call does not depend on the one before
        assert np.abs(program.run("forward", z[:rows])[0] - session.run(z[:rows])[0]).max() < 1e-5
    with pytest.raises(EngineError, match=r"decoder\.pte: ExecuTorch cannot run forward"):
        program.run("forward", z)
    assert np.abs(program.run("forward", z[:2])[0] - session.run(z[:2])[0]).max() < 1e-5


@needs_executorch
def test_executorch_draws_what_every_host_draws(
    exported: tuple[Path, list[ParityMeasurement]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the tests' own model, or of the bundle that VAE_BUNDLE names, if it holds programs."""
    folder = Path(os.environ["VAE_BUNDLE"]).resolve() if "VAE_BUNDLE" in os.environ else exported[0]
    bundle = Bundle.open(folder)
    program = PteProgram(bundle.read("sampler.pte"), "sampler.pte")
    index, labels = np.array(INDICES), labels_of(folder)
    label = [] if labels is None else [np.array(labels)]
    one = np.array(1, np.float32)
    latents = b"".join(program.run("latents", np.array(seed), index, *label)[0].tobytes() for seed in SEEDS)
    images = b"".join(program.run("forward", np.array(seed), index, one, *label)[0].tobytes() for seed in SEEDS)
    seconds = []
    for number in range(50):
        began = time.perf_counter()
        program.run("forward", np.array(number), index[:1], one, *(array[:1] for array in label))
        seconds.append(time.perf_counter() - began)
    rows: list[str] = []
    drawn = Drawn(f"executorch {version('executorch')}", latents, images, 1000 * median(seconds))
    check("ExecuTorch, XNNPACK", drawn, folder, rows)
    with capsys.disabled():
        sys.stdout.write(f"\n{rows[0]}\n")


@needs_executorch
def test_the_gate_refuses_the_program_of_another_model(
    exported: tuple[Path, list[ParityMeasurement]], mixture_checkpoint: Checkpoint
) -> None:
    model, other = mixture_checkpoint.build_model(), mixture_checkpoint.build_model()
    assert isinstance(model, VAE)
    next(other.decoder.parameters()).data[0, 0] += 1e-3
    decoder = graphs_of(model)[0]
    more = [executorch(decoder, to_pte(graphs_of(other)[0]))]
    images = mixture_checkpoint.reference_images.numpy()
    with pytest.raises(ValuesError, match="decoder in ExecuTorch: output 'image'"):
        check_graph(decoder, Reference(model), Bundle.open(exported[0]), images, more=more)


@needs_executorch
def test_a_program_has_the_same_bytes_twice(mixture_checkpoint: Checkpoint) -> None:
    once, again = (to_pte(graphs_of(mixture_checkpoint.build_model())[1]) for _ in range(2))
    assert once == again


@needs_executorch
def test_vae_verify_runs_the_programs(exported: tuple[Path, list[ParityMeasurement]], bundle: Path) -> None:
    names = {f"golden {graph} in ExecuTorch" for graph in ("decoder", "encoder", "sampler", "reconstructor")}
    report = verify_bundle(exported[0])
    assert report.passed
    assert names <= {check.name for check in report.checks}
    change_golden(exported[0], "decoder_image", 0.1)
    failed = {check.name for check in verify_bundle(exported[0]).checks if not check.passed}
    assert failed == {"golden decoder", "golden decoder in ExecuTorch"}
    assert not {check.name for check in verify_bundle(bundle).checks} & names
