"""Several processes, started by torchrun with gloo, give the same training as one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from trainer.checkpoint import load_checkpoint
from trainer.cli.train import train
from trainer.data.dataset import ImageData
from trainer.errors import DataError, SettingsError
from trainer.settings import Settings
from trainer.training.loop import fit
from trainer.training.run_folder import Run
from trainer.training.team import ALONE, Team, is_lost_connection

CPU = torch.device("cpu")
HERE = Path(__file__).parent
ROUNDING = 1e-5
"""Relative tolerance of a loss after some epochs; the largest difference found in these tests is 2.4e-7."""

# 400 images in batches of 57: slices of unequal size, and a last batch of one image, so most ranks get none.
PLAIN = Settings("test", hidden=(24, 16), latent_dim=5, batch_size=57, epochs=3, clip_norm=None, learning_rate=0.003)
RUNS = {
    "clipped": replace(PLAIN, clip_norm=30.0),  # in some steps
    # Adam is insensitive to the gradient's scale, unless its epsilon is as large as the gradient.
    "conv": replace(PLAIN, network="conv", hidden=(3, 4), adam_epsilon=10.0),
    "iwae": replace(PLAIN, bound="iwae", draws=3, activation="tanh", likelihood="gaussian"),
    "dreg": replace(PLAIN, bound="dreg", draws=3, binarize="dynamic"),
    "free bits": replace(PLAIN, free_bits=0.25, kl_warmup=2.0, schedule="cosine", epochs=5),
}


def torchrun(processes: int, program: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}", *program],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parents[2])},
        capture_output=True,
        text=True,
        timeout=120,
    )


def losses(history: Sequence[dict[str, Any]]) -> list[float]:
    return [row[f"{split}_{term}"] for row in history for split in ("train", "test") for term in ("loss", "kl")]


@pytest.fixture(scope="module")
def one_process(blobs: ImageData, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """The history of each run, trained in this process."""
    folder = tmp_path_factory.mktemp("one")
    return {
        name: [asdict(metrics) for metrics in [*fit(settings, blobs, Run(folder / name))][-1].history]
        for name, settings in RUNS.items()
    }


@pytest.mark.parametrize("processes", [2, 3])
def test_several_processes_give_the_losses_of_one(
    processes: int, one_process: dict[str, list[dict[str, Any]]], blobs: ImageData, tmp_path: Path
) -> None:
    torch.save((RUNS, blobs), tmp_path / "job.pt")
    done = torchrun(processes, [HERE / "torchrun_losses.py", tmp_path / "job.pt", tmp_path / "result.json"])
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "result.json").read_text())
    assert results.keys() == RUNS.keys()
    for name, found in results.items():
        assert losses(found["history"]) == pytest.approx(losses(one_process[name]), rel=ROUNDING), name
        assert found["differing"] == 0, name


def test_a_killed_process_ends_the_job_and_any_world_size_can_resume_it(tmp_path: Path) -> None:
    """Train with two processes until one is killed, then with three, then with one; compare with one throughout."""
    images = tmp_path / "images.npy"
    np.save(images, np.random.default_rng(0).integers(0, 256, (231, 8, 8), np.uint8))  # 193 to train on
    options = ["--dataset", str(images), "--runs", str(tmp_path), "--hidden", "8", "--latent-dim", "3"]
    options += ["--batch-size", "16", "--threads", "1"]
    parts, whole = tmp_path / "parts", tmp_path / "whole"

    done = torchrun(2, [HERE / "torchrun_death.py", *options, "--epochs", "9", "--name", "parts"])
    assert done.returncode == 1
    cause = done.stderr.split("Root Cause")[1]
    assert "rank      : 1" in cause
    assert "SIGKILL" in cause
    assert done.stderr.count("Error: rank 0 lost the connection to another rank") == 1
    assert load_checkpoint(parts / "last.pt").epoch == 2

    done = torchrun(3, ["-m", "trainer", "--resume", str(parts), "--epochs", "4"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("resuming after epoch 2") == 1
    assert "on      cpu, 1 threads, in each of 3 processes" in done.stdout
    assert sorted(path.name for path in (parts / "pictures").iterdir())

    assert CliRunner().invoke(train, ["--resume", str(parts), "--epochs", "5"]).exit_code == 0
    assert CliRunner().invoke(train, [*options, "--epochs", "5", "--name", "whole"]).exit_code == 0
    histories = [[asdict(row) for row in load_checkpoint(run / "last.pt").history] for run in (parts, whole)]
    assert losses(histories[0]) == pytest.approx(losses(histories[1]), rel=ROUNDING)


def test_more_processes_than_images_in_a_batch_are_refused_once_and_nothing_is_written(tmp_path: Path) -> None:
    done = torchrun(2, ["-m", "trainer", "--dataset", "glyphs", "--batch-size", "1", "--runs", str(tmp_path / "runs")])
    assert done.returncode == 1
    sentence = "2 processes cannot share a batch of 1 images, each needs at least one; start at most 1"
    assert done.stderr.count(f"Error: {sentence}") == 1
    assert f"traceback : {sentence}" in done.stderr.split("Root Cause")[1]
    assert done.stdout == ""
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_every_image_of_a_batch_belongs_to_one_rank(size: int) -> None:
    for images in (1, 2, 7, 8, 128):
        parts = [range(images)[Team(rank, size).part(images)] for rank in range(size)]
        assert [image for part in parts for image in part] == list(range(images))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_settings_that_cannot_be_split_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    norm = replace(PLAIN, batch_norm=True)
    assert Team.join(norm, CPU) is ALONE
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match="--batch-norm needs the statistics of the whole batch"):
        Team.join(norm, CPU)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(SettingsError, match="process 2 on this machine has no GPU of its own, there are 1"):
        Team.join(norm, torch.device("cuda"))


def test_machines_with_other_data_or_settings_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Team, "from_first", lambda team, make: (PLAIN, "0" * 64))
    team = Team(rank=1, world_size=2)
    team.check_agreement(PLAIN, "0" * 64)
    with pytest.raises(SettingsError, match="rank 1 has other settings than rank 0"):
        team.check_agreement(replace(PLAIN, seed=1), "0" * 64)
    with pytest.raises(DataError, match="rank 1 has other images than rank 0: their hash is 11111111"):
        team.check_agreement(PLAIN, "1" * 64)


def test_only_a_lost_connection_is_reported_as_one() -> None:
    assert is_lost_connection(torch.distributed.DistNetworkError("closed"))
    assert is_lost_connection(RuntimeError("[gloo/transport/tcp/pair.cc:545] Read error: Connection reset by peer"))
    assert not is_lost_connection(RuntimeError("CUDA out of memory"))
