"""A disk that is full in the middle of a write, two processes that write the same file, and pictures larger than the
memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from runtime.cli import reconstruct, sample
from runtime.errors import OutputError
from runtime.job import SampleJob
from runtime.machine import memory
from runtime.outputs.npy import write_npy
from runtime.sampler import Sampler

NUM = 30_000
# Limits the file size: the kernel truncates the write that would exceed the limit, and the next one fails, as on a
# full disk.
PROGRAM = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
from runtime.cli import sample
sample(sys.argv[2:])
"""


def sample_with_files_up_to(limit: int, bundle: Path, output: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, str(limit), str(bundle), "--num", str(NUM), "--output", str(output)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on a file's size to try this with")
@pytest.mark.parametrize("limit", [60_000, 1_000_001])
def test_an_interrupted_array_resumes_to_the_same_bytes(bundle: Path, tmp_path: Path, limit: int) -> None:
    path, part = tmp_path / "a.npy", tmp_path / "a.npy.part"
    done = sample_with_files_up_to(limit, bundle, path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "--resume continues it once there is space" in done.stderr
    assert not path.exists()
    assert 0 < part.stat().st_size <= limit
    sampler = Sampler(bundle)
    job = SampleJob.of(sampler, NUM, seed=0, first=0, temperature=1.0)
    write_npy(sampler, job, path, resume=True)
    assert (np.load(path) == sampler.sample(NUM)).all()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on a file's size to try this with")
def test_an_interrupted_archive_leaves_no_file(bundle: Path, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    done = sample_with_files_up_to(1_000_001, bundle, tmp_path / "a.npz")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "a.npz" in done.stderr
    assert set(tmp_path.iterdir()) == before


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no advisory locks")
def test_a_second_writer_of_one_array_is_refused_and_the_first_completes(bundle: Path, tmp_path: Path) -> None:
    sampler = Sampler(bundle, threads=2)
    job = SampleJob.of(sampler, NUM, seed=4, first=0, temperature=1.0)
    path = tmp_path / "a.npy"
    refusals: list[object] = []

    def second_writer(count: int) -> None:
        if count and not refusals:
            with pytest.raises(
                OutputError, match=rf"a\.npy: another process \(pid {os.getpid()}\) is writing it"
            ) as refusal:
                write_npy(sampler, job, path, resume=True)
            refusals.append(refusal)

    write_npy(sampler, job, path, resume=False, advance=second_writer)
    assert refusals
    assert (np.load(path) == sampler.sample(NUM, seed=4)).all()


@pytest.mark.parametrize("command", [sample, reconstruct])
def test_a_picture_larger_than_the_memory_is_refused_before_it_is_made(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: click.Command
) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 2 * 10**8)
    np.save(tmp_path / "a.npy", np.zeros((1000, 12, 12, 1), np.uint8))
    arguments = [str(bundle), "--num", "1000"] if command is sample else [str(tmp_path / "a.npy"), "--bundle", bundle]
    result = CliRunner().invoke(command, [*map(str, arguments), "--scale", "32", "--output", str(tmp_path / "x.png")])
    assert (result.exit_code, "pixels needs about" in result.output) == (1, True), result.output
    assert not list(tmp_path.glob("*x.png*"))
