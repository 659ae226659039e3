"""The runtime does not import torch, and importing a package has no side effects."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest


def python(*arguments: str) -> str:
    return subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True, timeout=120).stdout


def test_runtime_draws_an_image_where_torch_cannot_be_imported(bundle: Path) -> None:
    program = f"""
import sys
sys.modules["torch"] = None  # any import of it now fails
from runtime import Reconstructor, Sampler
images = Sampler({str(bundle)!r}).sample(2)
print(Reconstructor({str(bundle)!r}).reconstruct(images).shape)
"""
    assert python("-c", program).strip() == "(2, 12, 12, 1)"


@pytest.mark.parametrize("package", ["trainer", "export", "runtime"])
def test_importing_a_package_changes_nothing_and_prints_nothing(package: str) -> None:
    program = f"""
import os, random, signal, sys, threading

def state():
    return random.getstate(), dict(os.environ), signal.getsignal(signal.SIGINT), os.getcwd()

before = state()
import {package}
assert state() == before
assert threading.active_count() == 1
assert "torch" not in sys.modules
"""
    assert python("-c", program) == ""


@pytest.mark.parametrize("package", ["trainer", "export", "runtime"])
def test_every_name_on_the_menu_can_be_had(package: str) -> None:
    module = __import__(package)
    found = {name: getattr(module, name) for name in module.__all__}
    assert [name for name, value in found.items() if isinstance(value, ModuleType)] == []  # none is hidden by a room
    assert module.__version__ == version("vae-toolchain")
    with pytest.raises(AttributeError):
        _ = module.no_such_name


@pytest.mark.parametrize("package", ["trainer", "export"])
@pytest.mark.parametrize("name", ["runtime/__init__.py", "runtime/other.py", "runtime.py"])
def test_a_foreign_runtime_that_hides_ours_is_named(package: str, name: str, tmp_path: Path) -> None:
    foreign = tmp_path / name
    foreign.parent.mkdir(exist_ok=True)
    foreign.write_text("")
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import {package}"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    if name == "runtime/other.py" and result.returncode == 0:
        return  # a folder without __init__.py hides a package only where that one is installed as editable
    last = result.stderr.strip().splitlines()[-1]
    assert "`runtime` of vae-toolchain is hidden by" in last
    assert str(tmp_path / "runtime") in last
