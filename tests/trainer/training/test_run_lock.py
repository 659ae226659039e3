"""A run has one writer at a time, and a damaged newest checkpoint leads to the best one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from runtime.errors import OutputError
from trainer.checkpoint import load_checkpoint
from trainer.cli.train import train
from trainer.data.dataset import ImageData
from trainer.settings import Settings
from trainer.training.loop import fit
from trainer.training.run_folder import Run

BIN = Path(sys.executable).parent


@pytest.fixture
def images(tmp_path: Path) -> Path:
    np.save(tmp_path / "a.npy", np.random.default_rng(0).integers(0, 256, (60, 6, 6), np.uint8))
    return tmp_path / "a.npy"


def options(images: Path, epochs: int) -> list[str]:
    small = ["--hidden", "4", "--latent-dim", "2", "--epochs", str(epochs), "--threads", "1"]
    return ["--dataset", str(images), *small, "--runs", str(images.parent / "runs"), "--name", "r"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_of_two_processes_that_resume_a_run_the_second_is_refused_and_a_signal_ends_the_first_well(
    images: Path, number: signal.Signals
) -> None:
    run = images.parent / "runs" / "r"
    command = [str(BIN / "vae-train"), *options(images, 1_000_000)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as first:
        while not (run / "last.pt").exists():
            assert first.poll() is None
            time.sleep(0.02)
        before = (run / "config.toml").read_bytes()
        second = CliRunner().invoke(train, ["--resume", str(run)])
        assert (second.exit_code, f"another process (pid {first.pid}) is writing it" in second.output) == (1, True)
        assert (run / "config.toml").read_bytes() == before
        first.send_signal(number)
        _, stderr = first.communicate(timeout=30)
    assert (first.returncode, "resume with: vae-train --resume" in stderr, "Traceback" in stderr) == (1, True, False)
    load_checkpoint(run / "last.pt")
    assert not list(run.glob(".*"))


def test_fit_itself_refuses_a_run_that_is_taken(tmp_path: Path, blobs: ImageData, tiny_settings: Settings) -> None:
    run = Run.create(tmp_path / "runs", "r", "")
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        with run.owned():
            os.write(writer, b"x")
            time.sleep(60)
    os.read(reader, 1)
    try:
        with pytest.raises(OutputError, match=rf"pid {pid}\)"):
            next(iter(fit(tiny_settings, blobs, run)))
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reader)
        os.close(writer)
    assert next(iter(fit(tiny_settings, blobs, run))).epoch == 1


def test_a_truncated_last_checkpoint_offers_the_best_one(images: Path) -> None:
    assert CliRunner().invoke(train, options(images, 2)).exit_code == 0
    run = images.parent / "runs" / "r"
    content = (run / "last.pt").read_bytes()
    (run / "last.pt").write_bytes(content[: len(content) // 2])
    result = CliRunner().invoke(train, ["--resume", str(run), "--epochs", "3"])
    assert result.exit_code == 1
    assert "best.pt is whole: to continue after its epoch" in result.output
    (run / "best.pt").write_bytes(b"")
    result = CliRunner().invoke(train, ["--resume", str(run), "--epochs", "3"])
    assert (result.exit_code, "best.pt" in result.output, "last.pt: cannot be read" in result.output) == (
        1,
        False,
        True,
    )
