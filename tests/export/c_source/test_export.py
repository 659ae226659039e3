"""`--format c` in a bundle: the two files, their place in the manifest, and the parity check that they pass."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from export import Source
from export.bundle import build
from export.bundle.build import export_bundle
from export.c_source.read_onnx import read_network
from export.checks import c_engine, variants
from export.cli import export
from export.errors import ExportError, ValuesError
from runtime import Bundle, Sampler
from runtime.c_library import Library, find_compiler
from runtime.errors import BundleError
from runtime.manifest import C_FP16, C_INT8, Manifest
from runtime.verify import verify_bundle
from tests.hosts.helpers import missing
from trainer.checkpoint import Checkpoint, load_checkpoint
from trainer.training.run_folder import Run


@pytest.fixture(scope="module")
def c_bundle(tiny_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("c") / "bundle"
    arguments = ["--checkpoint", str(tiny_run.best), "--output", str(folder), "--format", "onnx", "--format", "c"]
    result = CliRunner().invoke(export, arguments)
    assert result.exit_code == 0, result.output
    assert "C source" in result.output
    return folder


def test_the_manifest_names_both_files(c_bundle: Path) -> None:
    manifest = json.loads((c_bundle / "manifest.json").read_text())
    assert manifest["c"] == {"header": "generator.h", "source": "generator.c"}
    assert manifest["files"]["generator.c"]["bytes"] == (c_bundle / "generator.c").stat().st_size
    assert verify_bundle(c_bundle).passed
    assert manifest["metadata"]["pair_id"] in (c_bundle / "generator.h").read_text()


def test_the_certificate_has_an_engine_and_its_compiler(c_bundle: Path) -> None:
    if find_compiler() is None:
        missing("cc is not installed")
    parity = json.loads((c_bundle / "parity.json").read_text())
    found = {entry["graph"]: entry for entry in parity["measurements"] if entry["engine"] == "C source"}
    assert set(found) == {"decoder", "encoder", "sampler", "reconstructor"}
    latents = [
        entry for entry in parity["measurements"] if (entry["engine"], entry["output"]) == ("C source", "latents")
    ]
    assert [entry["max_error"] for entry in latents] == [0]
    assert parity["measured_with"]["c"]


def test_its_images_are_the_samplers_to_one_level(c_bundle: Path) -> None:
    compiler = find_compiler()
    if compiler is None:
        missing("cc is not installed")
    library = Library({name: (c_bundle / name).read_bytes() for name in ("generator.h", "generator.c")}, compiler)
    indices = np.array([0, 3, 2**40, 2**63 - 1])
    expected = Sampler(c_bundle).sample_indices(indices, seed=11).astype(int)
    assert np.abs(library.sample(11, indices, expected.shape[1:]) - expected).max() <= 1


def test_two_exports_give_the_same_bytes(tiny_run: Run, c_bundle: Path, tmp_path: Path) -> None:
    export_bundle(load_checkpoint(tiny_run.best), tmp_path / "again", formats=("c",))
    for name in ("generator.h", "generator.c"):
        assert (tmp_path / "again" / name).read_bytes() == (c_bundle / name).read_bytes()
    assert not list((tmp_path / "again").glob("*.onnx"))


def test_a_bundle_without_c_source_says_nothing_of_it(bundle: Path) -> None:
    assert "c" not in json.loads((bundle / "manifest.json").read_text())
    assert Bundle.open(bundle).manifest.c is None
    assert "generator.c" not in (bundle / "README.md").read_text()


@pytest.fixture(scope="module")
def c_bundle_with_variants(mixture_checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("variants") / "bundle"
    export_bundle(mixture_checkpoint, folder, formats=("onnx", "c"), variants=(C_INT8, C_FP16))
    return folder


def test_variants_are_one_file_each_and_the_certificate_says_what_they_lose(c_bundle_with_variants: Path) -> None:
    folder = c_bundle_with_variants
    manifest, parity = (json.loads((folder / name).read_text()) for name in ("manifest.json", "parity.json"))
    assert manifest["c"]["variants"] == {"c-int8": "generator.int8.c", "c-fp16": "generator.fp16.c"}
    assert "onnx-int8" not in manifest["graphs"]["decoder"]["files"]
    for variant, least_db in (("c-int8", 35), ("c-fp16", 60)):
        record = parity["variants"][variant]
        assert record["bytes"] < record["float32_bytes"]
        assert record["psnr_db"] > least_db
        assert f"PSNR {record['psnr_db']:.1f} dB" in (folder / "README.md").read_text()


def test_images_of_a_variant_are_as_far_off_as_the_certificate_says(c_bundle_with_variants: Path) -> None:
    compiler = find_compiler()
    if compiler is None:
        missing("cc is not installed")
    bundle = Bundle.open(c_bundle_with_variants)
    z = bundle.prior().latents(1, np.arange(1000))  # type: ignore[union-attr]
    shape = bundle.manifest.metadata.image_shape
    images = {}
    for name in ("generator.c", "generator.int8.c"):
        files = {file: bundle.read(file) for file in ("generator.h", name)}
        images[name] = Library(files, compiler, source=name).decode(z, shape).astype(np.float64)
    error = np.square(images["generator.c"] - images["generator.int8.c"]).mean()
    parity = json.loads(bundle.read("parity.json"))
    assert parity["variants"]["c-int8"]["psnr_db"] == pytest.approx(-10 * np.log10(error), abs=0.1)


def test_vae_verify_compiles_variants_and_notices_a_changed_weight(
    c_bundle_with_variants: Path, tmp_path: Path
) -> None:
    compiler = find_compiler()
    if compiler is None:
        missing("cc is not installed")
    report = verify_bundle(c_bundle_with_variants, compiler=compiler)
    assert report.passed
    assert {"C source as c-int8", "C source as c-fp16"} <= {check.name for check in report.checks}
    folder = shutil.copytree(c_bundle_with_variants, tmp_path / "bundle")
    text = (folder / "generator.int8.c").read_text()
    start = text.index("vae_decoder_0_weight[", text.index("/* ---- Tables and weights"))
    end = text.index("\n", start) + 1
    number = text[end : text.index(",", end)]
    changed = text[:end] + str(-int(number) or 1) + text[end + len(number) :]
    (folder / "generator.int8.c").write_text(changed)
    manifest = json.loads((folder / "manifest.json").read_text())
    record = {"bytes": len(changed), "sha256": hashlib.sha256(changed.encode()).hexdigest()}
    manifest["files"]["generator.int8.c"] = record
    (folder / "manifest.json").write_text(json.dumps(manifest))
    failed = [check for check in verify_bundle(folder, compiler=compiler).checks if not check.passed]
    assert [check.name for check in failed] == ["C source as c-int8"]
    assert "vae_self_test returns -1" in failed[0].detail


def test_a_variant_that_loses_too_much_is_not_published(
    tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(variants, "SMALLEST_PSNR_DB", 200.0)
    with pytest.raises(ExportError, match=r"c-int8: PSNR against float32 is .* dB, below the 200 dB"):
        export_bundle(load_checkpoint(tiny_run.best), tmp_path / "b", formats=("c",), variants=C_INT8)
    assert not (tmp_path / "b").exists()


def test_without_a_compiler_a_variant_is_measured_in_numpy(
    tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(c_engine, "find_compiler", lambda: None)
    export_bundle(load_checkpoint(tiny_run.best), tmp_path / "b", formats=("c",), variants=(C_FP16,))
    assert json.loads((tmp_path / "b" / "parity.json").read_text())["variants"]["c-fp16"]["psnr_db"] > 60


def test_a_variant_of_c_source_needs_the_format_c(tiny_run: Run, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="c-int8 is a variant of the format c; add that format"):
        export_bundle(load_checkpoint(tiny_run.best), tmp_path / "b", formats=("onnx",), variants=(C_INT8,))


def test_int8_on_the_command_line_is_for_every_format_that_has_it(tiny_run: Run, tmp_path: Path) -> None:
    common = ["--checkpoint", str(tiny_run.best), "--output", str(tmp_path / "b"), "--int8"]
    assert CliRunner().invoke(export, [*common, "--format", "c"]).exit_code == 0
    assert (tmp_path / "b" / "generator.int8.c").exists()
    assert not list((tmp_path / "b").glob("*.onnx"))
    refused = CliRunner().invoke(export, [*common, "--format", "torchscript"])
    assert refused.exit_code == 1
    assert "onnx-int8 is a variant of the format onnx; add that format" in refused.output


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"c-int4": "generator.int8.c"}, r"c\.variants has the unknown format 'c-int4'"),
        ({"c-int8": "other.c"}, r"c names other\.c, which files leaves out"),
        ({"c-int8": "../other.c"}, r"c\.variants"),
        (["generator.int8.c"], r"c\.variants should be an object"),
    ],
)
def test_a_manifest_with_wrong_variants_is_refused(given: object, reason: str, c_bundle_with_variants: Path) -> None:
    manifest = json.loads((c_bundle_with_variants / "manifest.json").read_text())
    manifest["c"]["variants"] = given
    with pytest.raises(BundleError, match=reason):
        Manifest.from_json(json.dumps(manifest).encode())


def test_a_manifest_whose_c_source_is_not_listed_is_refused(c_bundle: Path) -> None:
    manifest = json.loads((c_bundle / "manifest.json").read_text())
    del manifest["files"]["generator.c"]
    with pytest.raises(BundleError, match=r"c names generator\.c, which files leaves out"):
        Manifest.from_json(json.dumps(manifest).encode())


def test_without_a_compiler_the_numpy_model_is_checked_and_said_so(
    tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(c_engine, "find_compiler", lambda: None)
    steps: list[str] = []
    measurements = export_bundle(
        load_checkpoint(tiny_run.best), tmp_path / "bundle", formats=("c",), report=steps.append
    )
    assert {entry.graph for entry in measurements if entry.engine == "C source, in NumPy"} == {
        "decoder",
        "encoder",
        "sampler",
        "reconstructor",
    }
    assert f"C source checked by {c_engine.NO_COMPILER}" in steps
    parity = json.loads((tmp_path / "bundle" / "parity.json").read_text())
    assert parity["measured_with"]["c"] == c_engine.NO_COMPILER


def test_c_source_of_other_weights_is_not_published(
    tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own self-test passes, since that is made of the same weights: only the parity check can see it."""

    def read_wrongly(decoder: bytes, encoder: bytes) -> tuple[object, object]:
        networks = read_network("decoder", decoder), read_network("encoder", encoder)
        networks[0].steps[0].bias[0] += 0.01  # type: ignore[union-attr]
        return networks

    monkeypatch.setattr(build, "read_networks", read_wrongly)
    with pytest.raises(ValuesError, match="decoder in C source"):
        export_bundle(load_checkpoint(tiny_run.best), tmp_path / "bundle", formats=("onnx", "c"))
    assert not (tmp_path / "bundle").exists()


def test_a_compiler_that_fails_ends_the_export_in_a_sentence(
    tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken-cc"
    broken.write_text("#!/bin/sh\necho generator.c:1: no >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    with pytest.raises(ExportError, match=r"broken-cc refuses generator\.c: generator\.c:1: no"):
        export_bundle(load_checkpoint(tiny_run.best), tmp_path / "bundle", formats=("c",))
    assert not (tmp_path / "bundle").exists()


def test_a_mixture_passes_with_every_label(
    mixture_checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measurements = export_bundle(mixture_checkpoint, tmp_path / "bundle", formats=("onnx", "c"))
    assert {entry.max_error for entry in measurements if entry.output == "latents"} == {0}
    header = (tmp_path / "bundle" / "generator.h").read_text()
    assert "#define VAE_CLASSES 4 /* labels: 0 north west, 1 north east, 2 south west, 3 3 */" in header
    compiler = find_compiler()
    if compiler is None:
        missing("cc is not installed")
    files = {name: (tmp_path / "bundle" / name).read_bytes() for name in ("generator.h", "generator.c")}
    library, sampler = Library(files, compiler), Sampler(tmp_path / "bundle")
    for label in range(-1, 4):
        names = {} if label < 0 else {"label": label}
        expected = sampler.sample(20, seed=3, temperature=0.8, **names).astype(int)
        found = library.sample(3, np.arange(20), expected.shape[1:], label, 0.8)
        assert np.abs(found - expected).max() <= 1
    monkeypatch.setattr(c_engine, "find_compiler", lambda: None)
    export_bundle(mixture_checkpoint, tmp_path / "bundle", formats=("c",))


class Flat(nn.Module):
    """A decoder as pythae builds its fully connected one: layers in sequence, and the image as a view."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5, 20), nn.ReLU(), nn.Linear(20, 48), nn.Sigmoid())

    def forward(self, z: Tensor) -> Tensor:
        image: Tensor = self.layers(z)
        return image.reshape((z.shape[0], 3, 4, 4))


def spatial() -> nn.Sequential:
    return nn.Sequential(nn.ConvTranspose2d(5, 8, 4, 4), nn.SiLU(), nn.Conv2d(8, 3, 3, padding=1), nn.Tanh())


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(
    ("decoder", "latent_shape", "value_range"), [(Flat, (5,), (0, 1)), (spatial, (5, 1, 1), (-1, 1))]
)
def test_a_foreign_decoder_without_an_encoder_has_c_source(
    decoder: Callable[[], nn.Module],
    latent_shape: tuple[int, ...],
    value_range: tuple[float, float],
    compiled: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if compiled and find_compiler() is None:
        missing("cc is not installed")
    if not compiled:
        monkeypatch.setattr(c_engine, "find_compiler", lambda: None)
    torch.manual_seed(0)
    source = Source.of_modules(
        decoder=decoder().eval(), latent_shape=latent_shape, image_shape=(3, 4, 4), value_range=value_range
    )
    export_bundle(source, tmp_path / "b", formats=("onnx", "c"))
    assert "#define VAE_HAS_ENCODER 0 " in (tmp_path / "b" / "generator.h").read_text()
    parity = json.loads((tmp_path / "b" / "parity.json").read_text())
    engine = "C source" if compiled else "C source, in NumPy"
    assert {entry["graph"] for entry in parity["measurements"] if entry["engine"] == engine} == {"decoder", "sampler"}
