"""Every example runs with the commands of its README in a folder that holds nothing else of this project.

The examples on the C source are in `test_c_hosts.py`, the noise in `test_noise_hosts.py`, recipes for other models in
`test_any_vae.py`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runtime import Sampler
from tests.hosts.helpers import ROOT, run

PICTURES = {"python-minimal": ["digit.pgm"], "node": ["digit.png"], "cpp": ["digit.pgm", "digit_opencv.pgm"]}


@pytest.fixture
def own_folder(tmp_path: Path, bundle: Path, example: str) -> Path:
    """A folder with the files of one example that git tracks, a trained bundle and the environment of `make`."""
    for name in run("git", "ls-files", "-z", f"examples/{example}").split("\0"):
        if name:
            target = tmp_path / "own" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)
    shutil.copytree(bundle, tmp_path / "own" / "runs" / "latest" / "bundle")
    (tmp_path / "own" / ".venv").symlink_to(sys.prefix)
    return tmp_path / "own"


@pytest.mark.parametrize("example", PICTURES)
def test_an_example_runs_with_the_commands_of_its_readme(own_folder: Path, bundle: Path, example: str) -> None:
    """Installs from package registries and compiles, so it only runs if hosts are required."""
    if not os.environ.get("VAE_REQUIRE_HOSTS"):
        pytest.skip("installs packages and compiles for minutes; `make test-hosts` runs it")
    readme = (own_folder / "examples" / example / "README.md").read_text()
    (commands,) = re.findall(r"```sh\n(.*?)```", readme, re.DOTALL)
    script = ["bash", "-euo", "pipefail", "-c", commands]
    result = subprocess.run(script, cwd=own_folder, capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stdout + result.stderr
    expected = Sampler(bundle).sample(1, seed=7)[0, :, :, 0].astype(int)
    for name in PICTURES[example]:
        with Image.open(own_folder / name) as image:
            assert np.abs(np.asarray(image).astype(int) - expected).max() <= 1


def test_lock_files_name_versions_and_hashes_but_no_registry() -> None:
    for folder in ("web", "examples/node"):
        lock = (ROOT / folder / "package-lock.json").read_text()
        assert "integrity" in lock
        assert "resolved" not in lock
        assert "http" not in re.sub(r'"funding": \{[^}]*\}', "", lock)
