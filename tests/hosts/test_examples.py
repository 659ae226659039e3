"""Every example runs from a clean checkout with the commands in its README."""

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
def clean_checkout(tmp_path: Path, bundle: Path) -> Path:
    """A copy of the files tracked by git, with a trained bundle and the environment of `make`."""
    checkout = tmp_path / "checkout"
    for name in run("git", "ls-files", "-z").split("\0"):
        if name and (ROOT / name).is_file():
            target = checkout / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)
    shutil.copytree(bundle, checkout / "runs" / "latest" / "bundle")
    (checkout / ".venv").symlink_to(sys.prefix)
    return checkout


@pytest.mark.parametrize("example", PICTURES)
def test_an_example_runs_with_the_commands_of_its_readme(clean_checkout: Path, bundle: Path, example: str) -> None:
    """Installs from package registries and compiles, so it only runs if hosts are required."""
    if not os.environ.get("VAE_REQUIRE_HOSTS"):
        pytest.skip("installs packages and compiles for minutes; `make test-hosts` runs it")
    readme = (clean_checkout / "examples" / example / "README.md").read_text()
    (commands,) = re.findall(r"```sh\n(.*?)```", readme, re.DOTALL)
    script = ["bash", "-euo", "pipefail", "-c", commands]
    result = subprocess.run(script, cwd=clean_checkout, capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stdout + result.stderr
    expected = Sampler(bundle).sample(1, seed=7)[0, :, :, 0].astype(int)
    for name in PICTURES[example]:
        with Image.open(clean_checkout / name) as image:
            assert np.abs(np.asarray(image).astype(int) - expected).max() <= 1


def test_lock_files_name_versions_and_hashes_but_no_registry() -> None:
    for folder in ("web", "examples/node"):
        lock = (ROOT / folder / "package-lock.json").read_text()
        assert "integrity" in lock
        assert "resolved" not in lock
        assert "http" not in re.sub(r'"funding": \{[^}]*\}', "", lock)
