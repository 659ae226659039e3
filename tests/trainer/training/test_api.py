"""Python has the power of the command: `train` makes the same folder, which the command resumes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from trainer import EpochMetrics, ImageData, Settings, SettingsError, TrainingInterruptedError, load, train
from trainer.checkpoint import load_checkpoint
from trainer.cli.evaluate import evaluate
from trainer.cli.train import train as vae_train
from trainer.data.numpy_files import save_arrays
from trainer.model.vae import VAE
from trainer.settings import PRESETS, adapted, preset_for


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of 120 small colour photos in two classes."""
    random = np.random.default_rng(0)
    for name, level in (("dark", 60), ("bright", 190)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(60):
            pixels = random.normal(level, 20, (9, 9, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    return tmp_path / "photos"


def test_train_makes_the_folder_of_vae_train_and_the_command_resumes_it(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = load(photos, image_size=8)
    assert repr(data) == "<photos: 100 training and 20 test images of 8×8×3, 2 classes: bright, dark>"
    options = {"hidden": (4,), "latent_dim": 2, "threads": 1, "verbose": False}
    run = train(data, preset="photo", epochs=2, runs=tmp_path / "python", **options)  # type: ignore[arg-type]
    whole = train(data, preset="photo", epochs=3, runs=str(tmp_path / "whole"), **options)  # type: ignore[arg-type]

    monkeypatch.chdir(tmp_path / "python")  # the run is found, and its data, from any folder
    command = CliRunner().invoke(vae_train, ["--resume", str(run.folder), "--epochs", "3"])
    assert command.exit_code == 0, command.output
    by_command = ["--dataset", str(photos), "--image-size", "8", "--preset", "photo", "--hidden", "4"]
    by_command += ["--latent-dim", "2", "--threads", "1", "--epochs", "3", "--runs", str(tmp_path / "command")]
    assert CliRunner().invoke(vae_train, by_command).exit_code == 0
    other = tmp_path / "command" / "photos-photo-1"
    assert {path.name for path in whole.folder.iterdir()} == {path.name for path in other.iterdir()}
    assert (whole.folder / "config.toml").read_bytes() == (other / "config.toml").read_bytes()
    weights = load_checkpoint(other / "last.pt").model_state
    assert all(torch.equal(tensor, weights[name]) for name, tensor in whole.last.model_state.items())
    assert run.last.epoch == 3


def test_run_shows_its_history_and_its_pictures(blobs: ImageData, tiny_settings: Settings, tmp_path: Path) -> None:
    seen: list[tuple[int, bool]] = []

    def on_epoch(metrics: EpochMetrics, model: VAE) -> None:
        seen.append((metrics.epoch, model.training))

    settings = replace(tiny_settings, epochs=2)
    run = train(blobs, settings=settings, runs=tmp_path, on_epoch=on_epoch, verbose=False)
    assert seen == [(1, False), (2, False)]
    assert len(run.history) == 2
    assert len(repr(run.history).splitlines()) == 3
    assert run.history[-1].epoch == run.last.epoch == 2
    assert run.best.epoch == min(run.history, key=lambda metrics: metrics.test_loss).epoch
    assert run.show().size == (8 * (96 + 16) + 16, 4 * (96 + 16) + 16)
    assert run._repr_png_().startswith(b"\x89PNG")


def test_arrays_without_a_source_travel_with_the_run(blobs: ImageData, tiny_settings: Settings, tmp_path: Path) -> None:
    named = replace(blobs, class_names=("a", "b", "c", "d"))
    run = train(named, settings=replace(tiny_settings, epochs=1), runs=tmp_path, verbose=False)
    kept = load(run.folder / "data.npz")
    assert kept.sha256 == blobs.sha256
    assert kept.class_names == named.class_names
    assert train(kept, resume=run.folder, epochs=2, verbose=False).last.epoch == 2


def test_class_names_that_are_no_text_are_refused(blobs: ImageData, tmp_path: Path) -> None:
    save_arrays(blobs, tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as arrays:
        np.savez(tmp_path / "b.npz", **dict(arrays), class_names=np.arange(4))
    with pytest.raises(Exception, match="class_names should be one text for each class but is int64"):
        load(tmp_path / "b.npz")


def test_mistakes_are_sentences(blobs: ImageData, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no setting 'epoch'; the settings are preset, hidden"):
        train(blobs, epoch=3, runs=tmp_path)
    with pytest.raises(SettingsError, match="preset should be one of kingma, tutorial, conv, photo but is 'foto'"):
        train(blobs, "foto", runs=tmp_path)
    with pytest.raises(SettingsError, match="the device should be auto, cpu, cuda but is 'gpu'"):
        train(blobs, device="gpu", runs=tmp_path)
    with pytest.raises(SettingsError, match="give either settings, or a preset"):
        train(blobs, "kingma", settings=Settings(), runs=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_interrupted_training_says_how_to_resume(blobs: ImageData, tiny_settings: Settings, tmp_path: Path) -> None:
    def interrupt(metrics: EpochMetrics, model: VAE) -> None:
        raise KeyboardInterrupt

    with pytest.raises(TrainingInterruptedError, match=r"finished epochs are saved; resume with: vae-train --resume"):
        train(blobs, settings=tiny_settings, runs=tmp_path, on_epoch=interrupt, verbose=False)


def test_defaults_of_settings_are_the_preset_tutorial() -> None:
    assert Settings() == PRESETS["tutorial"]


def test_photo_preset_is_chosen_for_colour_and_large_sides_and_grows_with_them() -> None:
    assert preset_for((1, 28, 28)) == preset_for((1, 32, 32)) == "tutorial"
    assert preset_for((3, 16, 16)) == preset_for((1, 33, 28)) == "photo"
    small, large = adapted("photo", (3, 32, 32), 50_000), adapted("photo", (3, 64, 64), 2500)
    assert (len(small.hidden), small.latent_dim, small.epochs) == (2, 64, 20)
    assert (len(large.hidden), large.latent_dim) == (3, 128)
    steps = -(-2500 // large.batch_size)
    assert large.epochs * steps >= 4000
    assert small.patience == 5  # of epochs of 1,563 steps
    assert (large.patience - 1) * steps < 400 <= large.patience * steps
    assert adapted("photo", (3, 4, 4), 100).hidden == (16,)
    assert adapted("kingma", (3, 64, 64), 10) == PRESETS["kingma"]


def test_run_that_overfits_stops_says_so_and_names_a_cure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Noise, of which nothing can be learned but the training images themselves."""
    noise = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), np.uint8)
    data = ImageData("noise", noise[:40], noise[40:], None, None)
    run = train(
        data, "photo", runs=tmp_path, threads=1, epochs=400, batch_size=8, hidden=(32,), latent_dim=32, patience=3
    )
    printed = capsys.readouterr().out
    assert "\n        or until 3 epochs have not lowered the test loss\n" in printed
    assert "stopped early: no lower test loss in 3 epochs (--patience);\n" in printed
    assert "the train loss still fell. More images would help, or --augment flip" in printed
    assert max(len(line) for line in printed.splitlines() if str(tmp_path) not in line) <= 80
    assert len(run.history) == run.best.epoch + 3 < 400


def test_the_script_of_the_documents_trains_exports_and_samples(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it stands, but on small photos and for one short epoch."""
    text = (Path(__file__).parents[3] / "docs" / "python.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"## A whole script\n+```python\n(.*?)```", text, re.DOTALL)
    assert len(script.splitlines()) == 8
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("trainer.settings._PHOTO_STEPS", 1)
    monkeypatch.setitem(PRESETS, "photo", replace(PRESETS["photo"], epochs=1))
    exec(compile(script.replace("image_size=64", "image_size=8"), "script", "exec"), {})
    with Image.open("samples.png") as picture:
        assert (picture.mode, picture.size) == ("RGB", (3 * (8 * 10 + 2),) * 2)
    assert (tmp_path / "bundle" / "decoder.onnx").is_file()


def test_vae_evaluate_finds_the_data_of_a_photo_run_from_any_folder(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = load(photos, image_size=8)
    run = train(data, epochs=1, hidden=(4,), latent_dim=2, runs=tmp_path / "runs", verbose=False)
    assert run.best.settings.preset == "photo"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    few = ["--k", "10", "--images", "4", "--samples", "8", "--threads", "1"]
    result = CliRunner().invoke(evaluate, [str(run.folder), *few])
    assert result.exit_code == 0, result.output
    assert (run.folder / "evaluation" / "evaluation.json").is_file()
    photos.rename(tmp_path / "moved")
    result = CliRunner().invoke(evaluate, [str(run.folder), *few])
    assert result.exit_code == 1
    assert "the data of this run are no longer at" in result.output
