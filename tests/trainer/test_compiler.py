"""Training does not wait for torch's compiler to be imported, which it does not use."""

import subprocess
import sys
from pathlib import Path

import numpy as np

PROGRAM = """
import sys
from trainer.cli.train import train
train(sys.argv[1:], standalone_mode=False)
assert "torch._dynamo" not in sys.modules
"""


def test_vae_train_imports_no_compiler_nor_does_a_resumed_run(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.random.default_rng(0).integers(0, 256, (100, 8, 8), np.uint8))
    for options in (["--hidden", "8", "--epochs", "1"], ["--resume", "runs/latest", "--epochs", "2"]):
        command = [sys.executable, "-c", PROGRAM, "--dataset", "images.npy", "--device", "cpu", *options]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
