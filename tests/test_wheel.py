"""The installed wheel, without torch, draws the same images as the source tree."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np

from runtime import Sampler

ROOT = Path(__file__).parent.parent


def test_the_wheel_draws_the_same_images_in_an_environment_without_torch(bundle: Path, tmp_path: Path) -> None:
    """Builds the wheel and installs it with only its base dependencies; needs a package registry."""

    def run(*command: object, cwd: Path = tmp_path) -> str:
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        result = subprocess.run(
            [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path / "dist", ROOT)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        files = archive.namelist()
    folders = {name.split("/")[0] for name in files}
    assert {folder for folder in folders if not folder.endswith(".dist-info")} == {"runtime", "trainer", "export"}
    assert {f"{package}/py.typed" for package in ("runtime", "trainer", "export")} <= set(files)

    run(sys.executable, "-m", "venv", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", wheel)

    installed = run(python, "-m", "pip", "list", "--format=freeze").lower()
    assert "onnxruntime" in installed
    assert "torch" not in installed
    run(tmp_path / "venv" / "bin" / "vae-sample", bundle, "--num", 20, "--seed", 5, "--output", "installed.npy")
    assert (np.load(tmp_path / "installed.npy") == Sampler(bundle).sample(20, seed=5)).all()
