"""Which library multiplies, and whether bf16 pays, is measured on the processor at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from trainer.cli.train import train
from trainer.settings import Settings
from trainer.training.steps import product_speed
from trainer.training.steps.gemm import BLAS, ONEDNN, has_bf16
from trainer.training.steps.product_speed import fastest_library
from trainer.training.warnings import slow_bf16_warning


def pretend(monkeypatch: pytest.MonkeyPatch, *, onednn: float, blas: float, bf16: float) -> None:
    """Let the products take so many seconds."""
    seconds = {torch.float32: {ONEDNN: onednn, BLAS: blas}, torch.bfloat16: {ONEDNN: 2 * bf16, BLAS: bf16}}
    monkeypatch.setattr(product_speed, "seconds_of_products", seconds.__getitem__)


@pytest.mark.parametrize(("onednn", "blas", "expected"), [(2, 1, BLAS), (1, 2, ONEDNN), (1, 0.97, ONEDNN)])
def test_the_library_that_is_clearly_faster_multiplies(
    onednn: float, blas: float, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, onednn=onednn, blas=blas, bf16=1)
    assert fastest_library(torch.float32) == expected
    assert fastest_library(torch.bfloat16) == BLAS


def test_the_choice_holds_for_the_process() -> None:
    assert fastest_library(torch.float32) == fastest_library(torch.float32)
    assert product_speed._measured.cache_info().hits


def test_precision_bf16_is_advised_against_where_float32_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    bf16, cpu = Settings(precision="bf16"), torch.device("cpu")
    pretend(monkeypatch, onednn=3, blas=2, bf16=5)
    warning = slow_bf16_warning(bf16, cpu)
    assert warning is not None
    assert "2.5 times as long" in warning
    assert "--precision float32" in warning
    assert slow_bf16_warning(Settings(), cpu) is None
    assert slow_bf16_warning(bf16, torch.device("cuda")) is None
    pretend(monkeypatch, onednn=3, blas=2, bf16=1)
    assert slow_bf16_warning(bf16, cpu) is None


def test_vae_train_prints_the_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_bf16(torch.device("cpu")):
        pytest.skip("this processor has no bf16 instructions")
    pretend(monkeypatch, onednn=3, blas=2, bf16=5)
    np.save(tmp_path / "images.npy", np.random.default_rng(0).integers(0, 256, (100, 8, 8), np.uint8))
    options = ["--dataset", str(tmp_path / "images.npy"), "--runs", str(tmp_path), "--hidden", "8", "--latent-dim", "3"]
    done = CliRunner().invoke(train, [*options, "--epochs", "1", "--device", "cpu", "--precision", "bf16"])
    assert done.exit_code == 0, done.output
    assert "--precision float32 trains faster" in " ".join(done.output.split())
