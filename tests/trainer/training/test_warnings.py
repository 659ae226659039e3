"""Warnings before and during training name the option that cures what they report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trainer.checkpoint import EpochMetrics, load_checkpoint
from trainer.data.dataset import ImageData
from trainer.data.load import load
from trainer.model.vae import ModelConfig, build_model
from trainer.settings import Settings
from trainer.training.api import train
from trainer.training.collapse import collapse_warning
from trainer.training.progress import duration
from trainer.training.run_folder import Run
from trainer.training.warnings import few_steps_warning, same_image_warning


def test_few_steps_are_reported_with_the_epochs_that_would_do() -> None:
    settings = Settings(batch_size=100, epochs=10)
    warning = few_steps_warning(settings, 950)
    assert warning is not None
    assert "950 images in 10 epochs make only 100 training steps" in warning
    assert "--epochs 100" in warning
    assert few_steps_warning(replace(settings, epochs=100), 950) is None


def test_model_that_gives_one_image_for_everything_is_reported(
    blobs: ImageData, tiny_settings: Settings, tiny_run: Run
) -> None:
    model = build_model(ModelConfig.of(tiny_settings, blobs.image_shape), 0).eval()
    settings = replace(tiny_settings, epochs=20)
    with torch.no_grad():
        model.mean.weight.zero_()
    warning = same_image_warning(model, blobs, settings, 2)
    assert warning is not None
    assert "nearly the same one (0.0% of the variance): train longer, or try --preset photo" in warning
    assert same_image_warning(model, blobs, settings, 3) is None
    trained = load_checkpoint(tiny_run.best).build_model()
    assert same_image_warning(trained, blobs, settings, 2) is None


def test_files_smaller_than_the_side_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "small").mkdir()
    for i in range(20):
        Image.fromarray(np.full((12, 16, 3), i, np.uint8)).save(tmp_path / "small" / f"{i}.png")
    (warning,) = load(tmp_path / "small", image_size=20).warnings
    assert "20 of 20 files are smaller than 20 pixels" in warning
    assert "try --image-size 12" in warning
    assert load(tmp_path / "small", image_size=12).warnings == ()


def test_collapse_is_news_only_after_the_warm_up() -> None:
    history = [
        EpochMetrics(i, 0, 0, 0, 0, 0, kl, 0, active_units=1, test_kl_per_dimension=(kl, 3.0))
        for i, kl in ((1, 2.0), (2, 0.001), (3, 0.001))
    ]
    assert collapse_warning(history[:2], Settings()) is not None
    assert collapse_warning(history, Settings(kl_warmup=2.0)) is None


def test_time_to_the_end_is_said_once_after_the_first_steps(
    blobs: ImageData, tiny_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("trainer.training.progress._SECONDS_MEASURED", 0.0)
    monkeypatch.setattr("trainer.training.progress._SECONDS_WORTH_SAYING", 0.0)
    run = train(blobs, settings=replace(tiny_settings, epochs=2), runs=tmp_path)
    said = capsys.readouterr().out
    assert said.count("to the end") == 1
    assert said.index("to the end") < said.index("\n    2 ")  # one call does all steps of an epoch
    assert "only 16 training steps" in said
    with Image.open(run.folder / "preview.png") as preview:
        assert preview.size == run.show().size
    assert [duration(s) for s in (40, 700, 12_000)] == ["40 s", "12 min", "3 h 20 min"]
