"""The installed wheel, without torch, draws the same images as the source tree."""

import zipfile
from pathlib import Path

import numpy as np

from runtime import Sampler
from tests.wheel import install_wheel, run


def test_the_wheel_draws_the_same_images_in_an_environment_without_torch(bundle: Path, tmp_path: Path) -> None:
    wheel, commands = install_wheel(tmp_path)
    with zipfile.ZipFile(wheel) as archive:
        files = archive.namelist()
    folders = {name.split("/")[0] for name in files}
    assert {folder for folder in folders if not folder.endswith(".dist-info")} == {"runtime", "trainer", "export"}
    assert {f"{package}/py.typed" for package in ("runtime", "trainer", "export")} <= set(files)

    installed = run(commands / "python", "-m", "pip", "list", "--format=freeze", cwd=tmp_path).lower()
    assert "onnxruntime" in installed
    assert "torch" not in installed
    run(commands / "vae-sample", bundle, "--num", 20, "--seed", 5, "--output", "installed.npy", cwd=tmp_path)
    assert (np.load(tmp_path / "installed.npy") == Sampler(bundle).sample(20, seed=5)).all()
