"""Behaviour common to all commands: `--version`, and a one-sentence error for a missing package."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from runtime.extras import how_to_install

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("name", PROJECT["scripts"])
def test_every_command_prints_its_version(name: str) -> None:
    module, attribute = PROJECT["scripts"][name].split(":")
    command = getattr(import_module(module), attribute)
    assert isinstance(command, click.Command)
    result = CliRunner().invoke(command, ["--version"], prog_name=name)
    assert (result.exit_code, result.output) == (0, f"{name}, version {version('vae-toolchain')}\n")


@pytest.mark.parametrize(
    ("missing", "command", "install"),
    [
        ("torch", "trainer.cli.train:train", "pip install 'vae-toolchain[train]'"),
        ("onnx", "export.cli:export", "pip install 'vae-toolchain[export]'"),
        ("onnxruntime", "runtime.cli:sample", "pip install vae-toolchain"),
    ],
)
def test_a_missing_package_ends_in_one_sentence_that_says_how_to_install_it(
    tmp_path: Path, missing: str, command: str, install: str
) -> None:
    module, attribute = command.split(":")
    program = f"import sys; sys.modules[{missing!r}] = None\nfrom {module} import {attribute}; {attribute}([])"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr == f"Error: the package {missing} is not installed; {install}\n"


def test_every_extra_named_in_a_message_exists() -> None:
    for module in ("torch", "torchvision", "matplotlib", "onnx.helper", "safetensors.torch", "tensorboard", "ray.data"):
        sentence = how_to_install(module)
        assert sentence is not None
        assert sentence.split("[")[1].split("]")[0] in PROJECT["optional-dependencies"]
    assert how_to_install("no_such_package") is None
