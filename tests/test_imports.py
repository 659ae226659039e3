"""The packages follow the import rule `runtime ◄ trainer ◄ export`, and import-linter finds violations of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("runtime", "trainer", "export")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the three packages and of the import contracts, in which a test may break a contract."""
    copy = tmp_path_factory.mktemp("checkout")
    shutil.copy(ROOT / "pyproject.toml", copy)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def lint(checkout: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_packages_keep_every_contract(checkout: Path) -> None:
    result = lint(checkout)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("runtime/noise.py", "import trainer.seeds"),
        ("runtime/sampler.py", "import torch"),
        ("trainer/seeds.py", "import export.errors"),
        ("trainer/model/vae.py", "import trainer.training.loop"),
        ("trainer/data/idx.py", "import trainer.data.image_folder"),
        ("export/formats/to_onnx.py", "import export.bundle.build"),
    ],
)
def test_a_forbidden_import_is_found(checkout: Path, file: str, line: str) -> None:
    path = checkout / file
    before = path.read_text()
    path.write_text(f"{before}\n{line}\n")
    try:
        result = lint(checkout)
    finally:
        path.write_text(before)
    assert result.returncode == 1
    assert "BROKEN" in result.stdout
