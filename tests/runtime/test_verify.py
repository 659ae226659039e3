"""`vae-verify` and `vae-bench`: their output, and checks that fail."""

import hashlib
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from export.c_source.write import read_networks, write_c
from runtime.bundle import Bundle
from runtime.c_library import find_compiler
from runtime.cli import bench, verify
from runtime.session import GraphSession
from runtime.verify import verify_bundle


def change_golden(bundle: Path, name: str, change: float) -> None:
    """Add `change` to one number of a golden array and update the file's record in the manifest."""
    with np.load(bundle / "golden.npz") as archive:
        arrays = dict(archive)
    flat = arrays[name].reshape(-1)
    flat[0] = flat[0] + change if flat[0] < 100 else flat[0] - change
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    list_anew(bundle, "golden.npz", buffer.getvalue())


def list_anew(bundle: Path, name: str, content: bytes) -> None:
    """Replace a file of the bundle and its record in the manifest."""
    (bundle / name).write_bytes(content)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def test_a_fresh_bundle_passes_every_check(bundle: Path) -> None:
    result = CliRunner().invoke(verify, [str(bundle)])
    assert result.exit_code == 0, result.output
    report = verify_bundle(bundle)
    names = {check.name for check in report.checks}
    assert set(json.loads((bundle / "manifest.json").read_text())["files"]) <= names
    assert {"golden latents", "golden decoder", "golden encoder", "golden sampler", "golden reconstructor"} <= names
    assert f"all {len(report.checks)} checks passed" in result.output


def change_certificate(bundle: Path, output: str, limit: float) -> None:
    """Set the limit of an encoder output in parity.json and update the file's record in the manifest."""
    certificate = json.loads((bundle / "parity.json").read_text())
    for entry in certificate["measurements"]:
        if entry["graph"] == "encoder" and entry["output"] == output:
            entry["limit"] = limit
    list_anew(bundle, "parity.json", json.dumps(certificate).encode())


def test_log_var_has_the_limit_used_at_export(bundle: Path) -> None:
    """The export's limit for log_var depends on PyTorch's float32 error, so a valid bundle may exceed 1e-5."""
    change_golden(bundle, "encoder_log_var", 1e-3)
    assert not verify_bundle(bundle).passed
    change_certificate(bundle, "log_var", 2e-3)
    assert verify_bundle(bundle).passed


def test_a_certificate_cannot_widen_the_limit_of_the_mean(bundle: Path) -> None:
    change_golden(bundle, "encoder_mean", 1e-3)
    change_certificate(bundle, "mean", 2e-3)
    assert not verify_bundle(bundle).passed


def test_the_summary_comes_first_and_passed_checks_are_printed_only_when_asked_for(bundle: Path) -> None:
    total = len(verify_bundle(bundle).checks)
    short = CliRunner().invoke(verify, [str(bundle)]).output.splitlines()
    assert short[0] == f"{bundle}: all {total} checks passed"
    assert not [line for line in short if line.startswith("ok")]
    long = CliRunner().invoke(verify, [str(bundle), "-v"]).output.splitlines()
    assert len([line for line in long if line.startswith("ok")]) == total
    change_golden(bundle, "encoder_mean", 1e-3)
    failing = CliRunner().invoke(verify, [str(bundle)])
    assert failing.exit_code == 1
    assert failing.output.splitlines()[0] == f"{bundle}: 1 of {total} checks failed"
    assert len([line for line in failing.output.splitlines() if line.startswith("FAILED")]) == 1


@pytest.mark.parametrize(
    ("array", "change", "check"),
    [
        ("latents", 1e-6, "golden latents"),
        ("decoder_image", 3e-5, "golden decoder"),
        ("encoder_mean", 1e-3, "golden encoder"),
        ("encoder_log_var", 1e-3, "golden encoder"),
        ("sampler_image", 2, "golden sampler"),
        ("reconstructor_image_out", 2, "golden reconstructor"),
    ],
)
def test_a_golden_value_that_is_not_reproduced_fails_its_check(
    bundle: Path, array: str, change: float, check: str
) -> None:
    change_golden(bundle, array, change)
    report = verify_bundle(bundle)
    assert check in {found.name for found in report.checks if not found.passed}


def test_one_grey_level_is_within_the_promise(bundle: Path) -> None:
    change_golden(bundle, "sampler_image", 1)
    assert verify_bundle(bundle).passed


def test_a_damaged_file_fails_by_name_with_exit_code_1_also_in_json(bundle: Path) -> None:
    (bundle / "encoder.onnx").write_bytes(b"damaged")
    result = CliRunner().invoke(verify, [str(bundle), "--json"])
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert not report["passed"]
    assert "encoder.onnx" in {check["name"] for check in report["checks"] if not check["passed"]}


def test_a_bundle_without_golden_values_does_not_pass(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    del manifest["files"]["golden.npz"]
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    assert not verify_bundle(bundle).passed


def test_the_benchmark_reports_all_its_measurements(bundle: Path) -> None:
    result = CliRunner().invoke(bench, [str(bundle), "--seconds", "0.01", "--threads", "2", "--json"])
    assert result.exit_code == 0, result.output
    measured = json.loads(result.stdout)
    assert {rate["threads"] for rate in measured["rates"]} == {1, 2}
    assert all(rate["images_per_s"] > 0 for rate in measured["rates"])
    assert measured["latency_us"]["p50"] <= measured["latency_us"]["p99"]
    assert min(measured[key] for key in ("cold_start_s", "gemm_gflops", "decoder_images_per_s")) > 0


class TestTheCompilerOption:
    @pytest.fixture
    def with_c(self, bundle: Path) -> Path:
        """The tiny bundle with its C source."""
        opened = Bundle.open(bundle)
        networks = read_networks(opened.read("decoder.onnx"), opened.read("encoder.onnx"))
        sources = write_c(networks, opened.manifest.metadata)
        manifest = json.loads((bundle / "manifest.json").read_text())
        manifest["c"] = {"header": "generator.h", "source": "generator.c"}
        (bundle / "manifest.json").write_text(json.dumps(manifest))
        list_anew(bundle, "generator.h", sources.header.encode())
        list_anew(bundle, "generator.c", sources.source.encode())
        return bundle

    def test_compiles_the_c_source_and_compares_it(self, with_c: Path) -> None:
        if find_compiler() is None:
            pytest.skip("this machine has no C compiler")
        assert "golden C source" not in {check.name for check in verify_bundle(with_c).checks}
        result = CliRunner().invoke(verify, [str(with_c), "--compiler", "cc -O1", "-v"])
        assert result.exit_code == 0, result.output
        assert re.search("ok       golden C source .*latents equal to the bit", result.output)

    def test_a_weight_that_was_changed_is_noticed(self, with_c: Path) -> None:
        if find_compiler() is None:
            pytest.skip("this machine has no C compiler")
        text = (with_c / "generator.c").read_text()
        place = text.index("0x", text.rindex("vae_decoder_0_weight"))
        list_anew(with_c, "generator.c", (text[:place] + "0x3F800000" + text[place + 10 :]).encode())
        result = CliRunner().invoke(verify, [str(with_c), "--compiler", "cc"])
        assert result.exit_code == 1
        assert "vae_self_test returns -12" in result.output

    def test_without_c_source_or_compiler_it_says_so(self, bundle: Path) -> None:
        result = CliRunner().invoke(verify, [str(bundle), "--compiler", "true"])
        assert (result.exit_code, "holds no C source to compile" in result.output) == (1, True)
        result = CliRunner().invoke(verify, [str(bundle), "--compiler", "no-such-compiler"])
        assert (result.exit_code, "is no program here" in result.output) == (2, True)


def test_an_engine_whose_int64_has_32_bits_is_named_as_such(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO draws every picture of `sampler.onnx` black; here a session that does the same stands in for it."""
    run = GraphSession.run

    def black(session: GraphSession, *inputs: np.ndarray) -> list[np.ndarray]:
        outputs = run(session, *inputs)
        return [
            np.zeros_like(output) if output.dtype == np.uint8 and inputs[0].ndim == 0 else output for output in outputs
        ]

    monkeypatch.setattr(GraphSession, "run", black)
    (failed,) = (check for check in verify_bundle(bundle).checks if not check.passed)
    assert failed.name == "golden sampler"
    assert failed.detail.startswith("black: this engine computes int64 in 32 bits and cannot draw latents")
