"""Which library multiplies, and whether bf16 pays, is measured on the processor at hand."""

from __future__ import annotations

import pytest
import torch

from trainer.settings import Settings
from trainer.training.steps import product_speed
from trainer.training.steps.gemm import BLAS, ONEDNN
from trainer.training.steps.product_speed import fastest_library
from trainer.training.warnings import slow_bf16_warning


def pretend(monkeypatch: pytest.MonkeyPatch, *, onednn: float, blas: float, bf16: float) -> None:
    """Let the products take so many seconds."""
    seconds = {torch.float32: {ONEDNN: onednn, BLAS: blas}, torch.bfloat16: {ONEDNN: bf16, BLAS: bf16}}
    monkeypatch.setattr(product_speed, "seconds_of_products", seconds.__getitem__)


@pytest.mark.parametrize(("onednn", "blas", "expected"), [(2, 1, BLAS), (1, 2, ONEDNN), (1, 0.97, ONEDNN)])
def test_the_library_that_is_clearly_faster_multiplies(
    onednn: float, blas: float, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, onednn=onednn, blas=blas, bf16=1)
    assert fastest_library() == expected


def test_the_choice_holds_for_the_process() -> None:
    assert fastest_library() == fastest_library()
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
