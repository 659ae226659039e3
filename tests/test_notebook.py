"""The example notebook runs from its first cell to its last."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

NOTEBOOK = Path(__file__).parent.parent / "examples" / "notebook" / "train_export_sample.ipynb"


MOST_BYTES = 400_000


def test_the_stored_notebook_shows_its_pictures_and_no_path_of_a_machine() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] for cell in cells if not "".join(cell["source"]).endswith(")\n"))
    pictures = [output for cell in cells for output in cell["outputs"] if "image/png" in output.get("data", {})]
    assert len(pictures) >= 3
    assert len(text) < MOST_BYTES
    assert not re.search(r"/(home|root|tmp|work|Users)/", text)


def test_notebook_runs_and_ends_with_frames_of_an_edited_digit(tmp_path: Path) -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    program = f"{code}\nprint(frames.shape, frames.std(axis=0).max() > 5, run.show().size)"
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=250
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "(8, 28, 28, 1) True (726, 366)"
    assert (tmp_path / "runs" / "glyphs-tutorial-1" / "bundle" / "decoder.onnx").is_file()
