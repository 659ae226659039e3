"""The runtime stays small: few dependencies, few imported modules, small installation, lazy imports."""

import json
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST_DEPENDENCIES = 5
MOST_INSTALLED_MB = 200  # mostly onnxruntime, numpy and pillow
MOST_OWN_KB = 640  # two fifths of it the table of normal scores, a sixth what keeps hostile files out


def imported_by(program: str) -> set[str]:
    """Modules imported by a new process that runs `program`."""
    code = f"{program}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_commands_start_without_numpy_or_onnxruntime() -> None:
    """Keeps `--help` and shell completion fast: these two imports are most of the start-up time."""
    modules = imported_by("import runtime.cli")
    assert not {"numpy", "onnxruntime", "PIL", "tqdm"} & modules


def test_sampling_imports_neither_torch_nor_onnx(bundle: Path) -> None:
    modules = imported_by(f"from runtime import Sampler; Sampler({str(bundle)!r}).sample(1)")
    assert not {"torch", "onnx", "trainer", "export", "PIL", "matplotlib"} & modules
    assert not {"zipfile", "secrets", "shutil", "tempfile"} & modules  # milliseconds each


def test_sampling_imports_ray_only_for_its_engine(bundle: Path, tmp_path: Path) -> None:
    arguments = [str(bundle), "--output", str(tmp_path / "a.npy")]
    modules = imported_by(f"from runtime.cli import sample; sample({arguments!r}, standalone_mode=False)")
    assert not {"ray", "pyarrow", "pandas", "runtime.ray"} & modules
    assert "runtime.outputs.npy" in modules


def test_dependencies_are_few_and_exactly_what_is_imported() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {requirement.split(">")[0] for requirement in project["dependencies"]}
    assert names == {"click", "numpy", "onnxruntime", "pillow", "tqdm"}
    assert len(names) <= MOST_DEPENDENCIES


def test_the_installation_stays_below_its_size_limit() -> None:
    own = sum(path.stat().st_size for path in (ROOT / "runtime").rglob("*") if path.suffix in (".py", ".f32"))
    assert own / 1e3 < MOST_OWN_KB
    sizes = {}
    for name in ("click", "numpy", "onnxruntime", "pillow", "tqdm"):
        files = distribution(name).files
        if files is None:
            pytest.skip(f"the installer of {name} kept no list of its files")
        sizes[name] = sum(path.stat().st_size for path in (Path(str(file.locate())) for file in files) if path.exists())
    assert sum(sizes.values()) / 1e6 < MOST_INSTALLED_MB, sizes
