"""Other execution providers of onnxruntime: named, checked, and never replaced by the CPU in silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner

from runtime import EngineError, InputError, Reconstructor, Sampler
from runtime.cli import bench, sample, verify
from runtime.providers import check_providers
from runtime.verify import verify_bundle

OPENVINO = "OpenVINOExecutionProvider"


def test_a_provider_has_a_short_and_a_full_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    assert check_providers(["cuda", "cpu"]) == ("CUDAExecutionProvider", "CPUExecutionProvider")
    assert check_providers(["CUDAExecutionProvider", "CUDA"]) == ("CUDAExecutionProvider",)
    assert check_providers(None) == ("CPUExecutionProvider",)


@pytest.mark.parametrize("providers", [["nosuch"], [""], [3], [], "cpu"])
def test_an_unknown_provider_is_refused_before_a_graph_is_read(providers: Any, bundle: Path) -> None:
    for use in (Sampler, Reconstructor):
        with pytest.raises(InputError, match="provider"):
            use(bundle, providers=providers)


@pytest.mark.parametrize("command", [sample, verify, bench])
def test_commands_name_the_providers_that_there_are(command: Any, bundle: Path) -> None:
    result = CliRunner().invoke(command, [str(bundle), "--provider", "nosuch"])
    assert result.exit_code == 1
    assert "has no provider 'nosuch'; it has " in result.output
    assert "cpu" in result.output


def test_the_cpu_by_name_is_the_default(bundle: Path) -> None:
    assert np.array_equal(Sampler(bundle, providers=["cpu"]).sample(9), Sampler(bundle).sample(9))


def test_a_provider_that_does_not_start_is_an_error(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As onnxruntime-gpu on a machine without CUDA: the provider is listed, and the session is left without it."""
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    real = onnxruntime.InferenceSession

    def without_cuda(content: bytes, options: Any, *, providers: list[str], enable_fallback: int) -> Any:
        return real(content, providers=["CPUExecutionProvider"], enable_fallback=enable_fallback)

    monkeypatch.setattr(onnxruntime, "InferenceSession", without_cuda)
    for providers in (["cuda"], ["cuda", "cpu"]):
        with pytest.raises(EngineError, match="provider cuda of onnxruntime does not start"):
            Sampler(bundle, providers=providers)


def test_onnxruntime_prints_nothing_of_a_strangers_graph_itself(
    bundle: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if "AzureExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has no provider that runs no node")
    with pytest.raises(EngineError, match="does not run on azure alone"):
        Sampler(bundle, providers=["azure"])
    assert capfd.readouterr() == ("", "")


def test_ray_takes_no_provider(bundle: Path, tmp_path: Path) -> None:
    arguments = [str(bundle), "--engine", "ray", "--provider", "cpu", "--output", str(tmp_path / "images")]
    result = CliRunner().invoke(sample, arguments)
    assert result.exit_code == 2
    assert "--provider" in result.output


@pytest.mark.skipif(OPENVINO not in onnxruntime.get_available_providers(), reason="needs onnxruntime-openvino")
def test_openvino_draws_the_same_images_and_keeps_the_certificate(bundle: Path) -> None:
    sampler = Sampler(bundle, providers=["openvino"])
    assert sampler.providers == (OPENVINO,)
    difference = sampler.sample(300).astype(int) - Sampler(bundle).sample(300)
    assert np.abs(difference).max() <= 1
    failed = {check.name for check in verify_bundle(bundle, providers=["openvino"]).checks if not check.passed}
    assert failed <= {"sampler float32", "golden sampler"}  # OpenVINO does not take the noise inside the graph
