"""Who may import whom, and that nothing heavy slips into the runtime."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def imported_packages(folder: str, *, without: str | None = None) -> set[str]:
    """First names of every import in a package, wherever it stands in the code, but for one room of it."""
    names = set()
    for path in (ROOT / folder).rglob("*.py"):
        if without is not None and path.is_relative_to(ROOT / folder / without):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names)


def test_runtime_imports_nothing_but_its_five_dependencies() -> None:
    light = {"runtime", "numpy", "onnxruntime", "PIL", "click", "tqdm"}
    assert imported_packages("runtime", without="ray") <= light
    assert imported_packages("runtime/ray") <= light | {"ray", "pyarrow"}


def test_trainer_imports_neither_export_nor_runtime() -> None:
    assert not imported_packages("trainer") & {"export", "runtime", "onnx", "onnxruntime"}


def python(*arguments: str) -> str:
    return subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True).stdout


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
    assert all(getattr(module, name) is not None for name in module.__all__)
    with pytest.raises(AttributeError):
        _ = module.no_such_name
