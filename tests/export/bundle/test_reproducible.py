"""The same checkpoint gives the same bytes in every process, folder and environment."""

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from export.formats.archive import zip_bytes
from trainer.training.run_folder import Run

_PROGRAM = """
import os, sys
from pathlib import Path
os.umask(0o077)
from export.bundle.build import export_bundle
from trainer.checkpoint import load_checkpoint
export_bundle(load_checkpoint(Path(sys.argv[1])), Path(sys.argv[2]))
"""


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_another_process_folder_umask_hash_seed_and_number_of_threads_give_the_same_sha256(
    tiny_run: Run, bundle: Path, tmp_path: Path
) -> None:
    other = tmp_path / "a folder" / "elsewhere"
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "TZ": "Asia/Tokyo", "OMP_NUM_THREADS": "3"}
    command = [sys.executable, "-W", "ignore", "-c", _PROGRAM, str(tiny_run.best), str(other)]
    subprocess.run(command, check=True, env=environment, cwd=tmp_path, capture_output=True, timeout=240)
    assert hashes(other) == hashes(bundle)


def test_no_file_names_a_path_or_a_user(bundle: Path) -> None:
    here = [str(Path(__file__).parents[3]).encode(), str(Path.home()).encode() + b"/", b"/site-packages/"]
    for path in bundle.iterdir():
        contents = [path.read_bytes()]
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                contents += [archive.read(name) for name in archive.namelist()]
        assert not [text for text in here for content in contents if text in content], path.name


def test_an_archive_does_not_depend_on_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = {"a/b": b"1" * 100, "c": b""}
    first = zip_bytes(entries)
    monkeypatch.setattr("time.time", lambda: 2e9)
    assert zip_bytes(entries) == first


def test_weights_in_an_archive_start_at_multiples_of_64_bytes(bundle: Path) -> None:
    """As in torch's own archives, so that weights can be memory-mapped."""
    content = (bundle / "decoder.pt").read_bytes()
    with zipfile.ZipFile(bundle / "decoder.pt") as archive:
        for info in archive.infolist():
            name_length = int.from_bytes(content[info.header_offset + 26 : info.header_offset + 28], "little")
            extra_length = int.from_bytes(content[info.header_offset + 28 : info.header_offset + 30], "little")
            assert (info.header_offset + 30 + name_length + extra_length) % 64 == 0


def test_torchscript_file_says_what_the_manifest_says(bundle: Path) -> None:
    from export.formats.to_torchscript import load_torchscript
    from runtime.bundle import Bundle
    from runtime.manifest import METADATA_KEY

    with zipfile.ZipFile(bundle / "sampler.pt") as archive:
        assert archive.read(f"archive/extra/{METADATA_KEY}").decode() == Bundle.open(bundle).manifest.metadata.to_json()
    module = load_torchscript((bundle / "sampler.pt").read_bytes())
    assert module.latents(torch.tensor(7), torch.arange(3)).shape == (3, 5)
