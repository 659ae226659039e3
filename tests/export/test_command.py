"""`vae-export`: its output, and one sentence with the right exit code for every mistake."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from export.cli import export
from trainer.training.run_folder import Run


def run(*arguments: object) -> Result:
    return CliRunner().invoke(export, [str(argument) for argument in arguments])


def test_prints_each_step_the_parity_table_and_what_it_wrote(tiny_run: Run, tmp_path: Path) -> None:
    result = run("--checkpoint", tiny_run.best, "--output", tmp_path / "b", "--format", "torchscript")
    assert result.exit_code == 0, result.output
    for text in ("decoder.pt", "parity of sampler", "same", f"wrote   {tmp_path / 'b'}/"):
        assert text in result.output
    card = (tmp_path / "b" / "README.md").read_text()
    assert "| TorchScript |" in card
    assert "![64 samples of seed 0, indices 0 to 63.](samples.png)" in card
    assert max(len(line) for line in result.output.splitlines() if "TorchScript" in line or "engine" in line) <= 80


@pytest.mark.parametrize("opset", ["17", "99", "abc"])
def test_unknown_opset_is_bad_usage(opset: str, tiny_run: Run, tmp_path: Path) -> None:
    result = run("--checkpoint", tiny_run.best, "--output", tmp_path / "b", "--opset", opset)
    assert result.exit_code == 2
    assert "--opset" in result.output
    assert not (tmp_path / "b").exists()


def with_nan(content: dict[str, Any]) -> None:
    content["model_state_dict"]["mean.bias"][0] = torch.nan


def with_wrong_shape(content: dict[str, Any]) -> None:
    content["model_state_dict"]["mean.bias"] = torch.zeros(99)


@pytest.mark.parametrize(
    ("damage", "message"), [(with_nan, "weight mean.bias holds NaN"), (with_wrong_shape, "size mismatch for mean.bias")]
)
def test_unusable_weights_end_in_one_sentence(damage: object, message: str, tiny_run: Run, tmp_path: Path) -> None:
    content = torch.load(tiny_run.best, weights_only=True)
    damage(content)  # type: ignore[operator]
    torch.save(content, tmp_path / "bad.pt")
    result = run("--checkpoint", tmp_path / "bad.pt")
    assert result.exit_code == 1
    assert message in result.output
    assert "Traceback" not in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["bad.pt"]


def test_a_folder_with_other_files_is_refused_before_the_slow_part(tiny_run: Run, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    result = run("--checkpoint", tiny_run.best, "--output", tmp_path)
    assert result.exit_code == 1
    assert "thesis.tex" in result.output
    assert "decoder.onnx" not in result.output


def test_a_missing_checkpoint_says_what_to_do(tmp_path: Path) -> None:
    result = run("--checkpoint", tmp_path / "none.pt")
    assert result.exit_code == 1
    assert "no such file; train a model with vae-train" in result.output


def test_variants_need_onnx(tiny_run: Run, tmp_path: Path) -> None:
    result = run("--checkpoint", tiny_run.best, "--output", tmp_path / "b", "--format", "pt2", "--int8")
    assert result.exit_code == 1
    assert "onnx-int8 is a variant of the format onnx; add that format" in result.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_in_the_middle_leaves_nothing_and_says_what_is_kept(
    tiny_run: Run, tmp_path: Path, number: signal.Signals
) -> None:
    command = [str(Path(sys.executable).parent / "vae-export"), "--checkpoint", str(tiny_run.best)]
    with subprocess.Popen([*command, "--output", str(tmp_path / "b")], stderr=subprocess.PIPE, text=True) as process:
        while not list(tmp_path.glob(".b.draft-*/*.onnx")):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr.splitlines()[-1]) == (
        1,
        "Error: stopped; nothing was published, and the output is as it was",
    )
    assert list(tmp_path.iterdir()) == []
