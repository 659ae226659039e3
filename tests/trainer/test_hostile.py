"""Manipulated checkpoints and data give errors; unusual but valid ones work."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from trainer.checkpoint import load_checkpoint
from trainer.cli.evaluate import evaluate, is_evaluation
from trainer.cli.sweep import sweep
from trainer.cli.train import train
from trainer.data.dataset import ImageData
from trainer.data.numpy_files import load_arrays, save_arrays
from trainer.errors import CheckpointError
from trainer.training.resume import check_resumable
from trainer.training.run_folder import Run

Content = dict[str, Any]


def without_history(content: Content) -> None:
    content["history"] = []


def without_images(content: Content) -> None:
    content["reference_images"] = None


def with_no_image(content: Content) -> None:
    content["reference_images"] = content["reference_images"][:0]


def with_a_number_for_a_hash(content: Content) -> None:
    content["config"]["data"]["sha256"] = 5


def with_a_number_for_a_name(content: Content) -> None:
    content["config"]["data"]["name"] = 5


def with_whole_numbers_for_weights(content: Content) -> None:
    content["model_state_dict"]["mean.bias"] = content["model_state_dict"]["mean.bias"].to(torch.int32)


def without_versions(content: Content) -> None:
    content["versions"] = None


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (without_history, "its history should have at least one epoch but is empty"),
        (without_images, "reference_images should be test images, but there are none"),
        (with_no_image, "reference_images should be test images, but there are none"),
        (with_a_number_for_a_hash, "the hash of the data should be text but is 5"),
        (with_a_number_for_a_name, "the name of the data should be text but is 5"),
        (with_whole_numbers_for_weights, "weight mean.bias should be torch.float32 but is torch.int32"),
        (without_versions, "versions and optimizer_state_dict should be dictionaries"),
    ],
)
def test_checkpoint_that_was_tampered_with_is_refused(
    tiny_run: Run, tmp_path: Path, tamper: Callable[[Content], None], message: str
) -> None:
    content = torch.load(tiny_run.best, weights_only=True)
    tamper(content)
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"a\.pt: " + re.escape(message)):
        load_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize("state", [{}, {"state": 1}, {"state": {0: {"step": torch.tensor(1.0)}}}])
def test_a_checkpoint_with_incomplete_optimiser_state_is_not_resumed(tiny_run: Run, state: Content) -> None:
    checkpoint = load_checkpoint(tiny_run.last)
    check_resumable(checkpoint.settings, checkpoint.data.sha256, checkpoint)
    with pytest.raises(CheckpointError, match=r"the state of Adam should be .*'exp_avg'.* but is"):
        check_resumable(checkpoint.settings, checkpoint.data.sha256, replace(checkpoint, optimizer_state=state))


@pytest.mark.parametrize("shape", [(6, 1), (1, 6), (1, 1)])
def test_images_may_be_one_pixel_wide_or_high(tmp_path: Path, shape: tuple[int, int]) -> None:
    np.save(tmp_path / "a.npy", np.random.default_rng(0).integers(0, 256, (40, *shape), np.uint8))
    small = ["--hidden", "4", "--latent-dim", "2", "--epochs", "1", "--runs", str(tmp_path / "runs")]
    result = CliRunner().invoke(train, ["--dataset", str(tmp_path / "a.npy"), *small])
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "runs" / "latest" / "pictures").iterdir())) == 5


def test_an_empty_name_is_not_this_folder(tmp_path: Path) -> None:
    result = CliRunner().invoke(train, ["--dataset", "", "--runs", str(tmp_path / "runs")])
    assert result.exit_code == 1
    assert "--dataset is empty" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--hidden", "99999999999"], "of memory, but"),
        (["--latent-dim", "999999999999999999"], "more weights than any memory holds"),
        (["--network", "conv", "--hidden", "4,4,4"], "3 convolutional stages need images of at least 8 pixels a side"),
    ],
)
def test_model_that_cannot_be_built_leaves_no_run(tmp_path: Path, arguments: list[str], message: str) -> None:
    np.save(tmp_path / "a.npy", np.random.default_rng(0).integers(0, 256, (40, 4, 4), np.uint8))
    options = ["--dataset", str(tmp_path / "a.npy"), "--runs", str(tmp_path / "runs"), *arguments]
    result = CliRunner().invoke(train, options)
    assert result.exit_code == 1
    assert message in result.output
    assert not (tmp_path / "runs").exists()


def test_running_out_of_memory_gives_one_sentence(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.random.default_rng(0).integers(0, 256, (40, 4, 4), np.uint8))
    options = ["--dataset", str(tmp_path / "a.npy"), "--runs", str(tmp_path / "runs"), "--draws", "100000000000"]
    result = CliRunner().invoke(train, options)
    assert result.exit_code == 1
    assert "there is not enough memory" in result.output


def test_sweep_without_a_place_or_with_a_damaged_cell_is_one_sentence(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.random.default_rng(0).integers(0, 256, (40, 4, 4), np.uint8))
    options = ["--dataset", str(tmp_path / "a.npy"), "--latent-dim", "2", "--hidden", "4"]
    (tmp_path / "file").write_text("no folder")
    result = CliRunner().invoke(sweep, [*options, "--runs", str(tmp_path / "file")])
    assert (result.exit_code, "cannot write" in result.output) == (1, True)
    cell = tmp_path / "runs" / "sweep" / "latent2-hidden4x4"
    cell.mkdir(parents=True)
    sha256 = load_arrays(tmp_path / "a.npy").sha256
    for content, message in (
        ("", "cell.json: is damaged; remove"),
        ("[]", "cell.json: is damaged; remove"),
        ("{}", "cell.json: is damaged; remove"),
        (json.dumps({"data": sha256, "settings": []}), "cell.json: is damaged; remove"),
        ('{"data": 1}', "was trained on other data"),
    ):
        (cell / "cell.json").write_text(content)
        result = CliRunner().invoke(sweep, [*options, "--runs", str(tmp_path / "runs")])
        assert (result.exit_code, "Error: " in result.output) == (1, True), result.output
        assert message in result.output


def test_a_cell_whose_figures_are_text_is_damaged(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.random.default_rng(0).integers(0, 256, (40, 4, 4), np.uint8))
    options = ["--dataset", str(tmp_path / "a.npy"), "--latent-dim", "2", "--hidden", "4", "--epochs", "1"]
    options += ["--runs", str(tmp_path / "runs")]
    result = CliRunner().invoke(sweep, options)
    assert result.exit_code == 0, result.output
    record = tmp_path / "runs" / "sweep" / "latent2-hidden4x4" / "cell.json"
    known = json.loads(record.read_text())
    for field in known["cell"]:
        changed = known["cell"] | {field: 5 if field in ("name", "hidden") else "many"}
        record.write_text(json.dumps(known | {"cell": changed}))
        result = CliRunner().invoke(sweep, options)
        assert (result.exit_code, "cell.json: is damaged; remove" in result.output) == (1, True), (field, result.output)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("dataset = 5", "dataset should be text but is 5"),
        ("dataset = []", "dataset should be text but is []"),
        ("data-dir = true", "data-dir should be text but is True"),
        (f"a = {'[' * 100_000}", "is not valid TOML"),
        (f"a = {'1' * 10_000}", "is not valid TOML"),
    ],
    ids=["a number", "a list", "true", "deep", "long"],
)
def test_evaluating_a_run_whose_config_holds_anything_is_one_sentence(
    tiny_run: Run, tmp_path: Path, config: str, message: str
) -> None:
    shutil.copy(tiny_run.best, tmp_path)
    (tmp_path / "config.toml").write_text(config)
    result = CliRunner().invoke(evaluate, [str(tmp_path)])
    assert (result.exit_code, result.output.count("\n")) == (1, 1), result.output
    assert f"{tmp_path / 'config.toml'}: {message}" in result.output


@pytest.mark.parametrize("what", ["a file", "a link"])
def test_evaluation_asks_for_a_folder_before_it_computes(
    tiny_run: Run, blobs: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    save_arrays(blobs, tmp_path / "blobs.npz")
    if what == "a file":
        (tmp_path / "e").write_text("mine")
    else:
        (tmp_path / "e").symlink_to(tmp_path / "nowhere")
    monkeypatch.setattr("trainer.evaluation.evaluate.evaluate_checkpoint", lambda *a, **k: pytest.fail("computed"))
    arguments = [str(tiny_run.folder), "--dataset", str(tmp_path / "blobs.npz"), "--output", str(tmp_path / "e")]
    result = CliRunner().invoke(evaluate, arguments)
    assert (result.exit_code, "is no folder; choose another place" in result.output) == (1, True), result.output


@pytest.mark.parametrize("content", ['"protocols"', '["protocols"]', "[" * 100_000])
def test_json_that_only_mentions_protocols_is_no_evaluation(tmp_path: Path, content: str) -> None:
    (tmp_path / "evaluation.json").write_text(content)
    assert not is_evaluation(tmp_path / "evaluation.json")
