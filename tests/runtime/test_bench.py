"""`vae-bench` reports memory in the unit that it names."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from runtime import bench


def test_the_kib_of_linux_are_reported_as_mb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.CompletedProcess([], 0, stdout='{"peak_kib": 125000}\n', stderr="")
    monkeypatch.setattr("runtime.bench.subprocess.run", lambda *arguments, **options: done)
    assert bench._cold_start(tmp_path, "float32")[1] == 128
